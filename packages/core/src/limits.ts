// Every bound on a stranger's bundle, in one place (SPEC.md, "Limits"). Bytes unless the name says otherwise.
export const limits = {
  packedBytes: 25_000_000,
  unpackedBytes: 256_000_000,
  members: 4096,
  memberNameBytes: 100,
  /** attestation.sigstore.json or statement.json; the largest predicate is far below it. */
  attestationBytes: 16_000_000,
  /** submission.json, sbom.cdx.json, a manifest or config of the image, an artifact or log. */
  documentBytes: 32_000_000,
  /** manifest.json, policy.json and snapshot.json, each: 4096 members take 1.5 MB. */
  ownDocumentBytes: 4_000_000,
  /** One observation: 500 findings of hygiene with the longest paths and instructions. */
  observationBytes: 8_000_000,
  /** All observations together: they are read before anybody knows who signed them. */
  observationsBytes: 32_000_000,
  /** One layer's inventory: 200,000 entries of the usual 300 bytes. */
  inventoryBytes: 64_000_000,
  jsonDepth: 32,
  /** Values and names in one JSON document: 100,000 files of a submission take a million. */
  jsonTokens: 2_000_000,
  /** The same in one observation: 1024 episodes take 20,000. */
  observationTokens: 100_000,
  /** The same in attestation.sigstore.json. */
  attestationTokens: 10_000,
  layers: 128,
  inventoryEntries: 200_000,
  /** All layers together; an ordinary image has some ten thousand, one with CUDA some hundred thousand. */
  imageEntries: 1_000_000,
  inventoryLineBytes: 131_072,
  /** Names on all layers' paths, each once a layer and folder: what a tree of them takes in memory. */
  treeNodes: 4_000_000,
  /** Folders in one another; `PATH_MAX` allows twice as many, and no image has them. */
  treeDepth: 1024,
  /** openenv.yaml, Dockerfile, .dockerignore. */
  sourceTextBytes: 65_536,
} as const
