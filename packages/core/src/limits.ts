// Every bound on a stranger's bundle, in one place (SPEC.md, "Limits"). Bytes unless the name says otherwise.
export const limits = {
  packedBytes: 25_000_000,
  unpackedBytes: 256_000_000,
  members: 4096,
  memberNameBytes: 100,
  /** attestation.sigstore.json or statement.json; the largest predicate is far below it. */
  attestationBytes: 16_000_000,
  /** manifest.json, policy.json, snapshot.json, submission.json, an observation, a manifest or config of the image. */
  documentBytes: 32_000_000,
  /** One layer's inventory: 200,000 entries of the usual 300 bytes. */
  inventoryBytes: 64_000_000,
  jsonDepth: 32,
  layers: 128,
  inventoryEntries: 200_000,
  inventoryLineBytes: 131_072,
  /** Names on all layers' paths, each once a layer and folder: what a tree of them takes in memory. */
  treeNodes: 4_000_000,
  /** Folders in one another; `PATH_MAX` allows twice as many, and no image has them. */
  treeDepth: 1024,
  /** openenv.yaml, Dockerfile, .dockerignore. */
  sourceTextBytes: 65_536,
} as const
