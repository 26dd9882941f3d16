// A complete and honest unsigned bundle without an engine: what was measured is made up, all else comes from the
// functions by which emit-evidence makes it.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  assembleBundle,
  buildImageView,
  builtInPolicies,
  CATALOGUE_VERSION,
  canonicalJsonBytes,
  catalogue,
  catalogueDigest,
  criteria,
  type Digest,
  deriveSeeds,
  encodeObservation,
  isJudged,
  type NewMember,
  type NotObserved,
  type Observation,
  observationPath,
  type PolicyDocument,
  type PredicateFacts,
  policyDigest,
  preview,
  readDeclaration,
  type SnapshotDocument,
  type StaticEvidence,
  serializeInventory,
  sha256Digest,
  type UnsignedState,
} from "@envidence/core"
import { buildImageSbom, inventoriesOf, inventoryImage, openOciLayout } from "@envidence/oci"
import { type ImageOptions, sha256, writeImage } from "./image.ts"
import { honestFiles, writeSubmission } from "./submission.ts"

export interface StateOptions extends ImageOptions {
  readonly files?: Readonly<Record<string, string>>
  readonly policy?: PolicyDocument
  readonly challenge?: string
  /** Changes the facts of a criterion before they are judged, as another machine would have observed them. */
  readonly observe?: Readonly<Record<string, (facts: LooseFacts) => unknown>>
  readonly skip?: readonly string[]
  readonly notObserved?: Readonly<Record<string, string>>
  readonly builtFromSubmission?: boolean
}

// biome-ignore lint/suspicious/noExplicitAny: tests change facts of any shape, also into what no type allows.
export type LooseFacts = any

export interface BuiltState extends UnsignedState {
  /** The image as an OCI layout. */
  readonly imageDirectory: string
  readonly imageDigest: Digest
  /** The checkout. */
  readonly submissionDirectory: string
  readonly submissionDigest: Digest
}

const folders: string[] = []

/** Removes every folder that the builders made. */
export function removeFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
}

export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "envidence-bundle-"))
  folders.push(folder)
  return folder
}

/** The time of every honest observation. */
export const FINISHED_AT = "2026-01-02T03:04:05.000Z"

export async function buildState(options: StateOptions = {}): Promise<BuiltState> {
  const folder = newFolder()
  const imageDirectory = join(folder, "image")
  const submissionDirectory = join(folder, "submission")
  writeImage(imageDirectory, options)
  const submission = await writeSubmission(submissionDirectory, options.files ?? honestFiles)
  const read = await readImage(imageDirectory)
  const declaration = readDeclaration(submission.document.texts)
  const evidence: StaticEvidence = { image: read.image, declaration, sbom: read.sbom }
  const policy = options.policy ?? builtInPolicies.demo
  const challenge = options.challenge ?? null
  const observed = await observeAll(evidence, options, challenge)
  const context = {
    imageDigest: read.image.manifestDigest,
    configDigest: read.image.configDigest,
    sbomDigest: read.sbom.digest,
    builtFromSubmission: options.builtFromSubmission ?? true,
    seeds: await deriveSeeds(challenge),
  }
  const findings = preview(observed, declaration, policy, context)
  const snapshot = await honestSnapshot()
  const members: NewMember[] = [
    { path: "submission.json", bytes: canonicalJsonBytes(submission.document), role: "submission" },
    { path: "policy.json", bytes: canonicalJsonBytes(policy), role: "policy" },
    { path: "snapshot.json", bytes: canonicalJsonBytes(snapshot), role: "snapshot" },
    ...read.members,
    ...[...observed.observations.values()].flatMap(membersOf),
  ]
  const facts: PredicateFacts = {
    tool: { name: "emit-evidence", version: "0.1.0" },
    catalogue: { version: CATALOGUE_VERSION, digest: await catalogueDigest() },
    policy: { id: policy.id, version: policy.version, digest: await policyDigest(policy) },
    validatorImages: [],
    submission: { kind: submission.document.kind, digest: submission.digest },
    image: {
      digest: read.image.manifestDigest,
      configDigest: read.image.configDigest,
      platform: read.image.platform,
      builtFromSubmission: context.builtFromSubmission,
      judgedPlatforms: [read.image.platform],
      indexDigest: null,
    },
    buildArgs: {},
    snapshot: {
      digest: await sha256Digest(canonicalJsonBytes(snapshot)),
      fingerprint: snapshot.fingerprint as Digest,
    },
    sbom: { digest: read.sbom.digest, mediaType: "application/vnd.cyclonedx+json" },
    criteria: catalogue.map(row => {
      const observation = observed.observations.get(row.id)
      const reason = observed.notObserved.get(row.id)
      return {
        id: row.id,
        revision: observation?.revision ?? (isJudged(row) ? row.revision : 0),
        observation: observation === undefined ? null : `sha256:${sha256(encodeObservation(observation))}`,
        preview: findings.find(({ id }) => id === row.id)?.outcome ?? "unmeasured",
        skippedByContributor: reason?.skippedByContributor ?? false,
        notObserved: observation === undefined ? (reason?.because ?? "this version does not observe it") : null,
      }
    }),
    challenge,
    startedAt: "2026-01-02T03:00:00.000Z",
    finishedAt: FINISHED_AT,
    hardwareAttestation: null,
  }
  const state = await assembleBundle(members, facts, submission.digest)
  return {
    ...state,
    imageDirectory,
    imageDigest: read.image.manifestDigest,
    submissionDirectory,
    submissionDigest: submission.digest,
  }
}

async function readImage(directory: string) {
  const layout = await openOciLayout(directory)
  const inventory = await inventoryImage(layout)
  const { manifestBytes, configBytes } = layout
  const layers = inventoriesOf(inventory)
  const image = await buildImageView({ manifestBytes, configBytes, layers })
  const { bytes } = buildImageSbom(layout, inventory)
  const members: NewMember[] = [
    { path: "image/manifest.json", bytes: manifestBytes, role: "image-manifest" },
    { path: "image/config.json", bytes: configBytes, role: "image-config" },
    ...layers.map(
      (entries, i): NewMember => ({
        path: `image/layers/${i}.jsonl`,
        bytes: serializeInventory(entries),
        role: "layer-inventory",
      }),
    ),
    { path: "sbom.cdx.json", bytes, role: "sbom" },
  ]
  return { image, sbom: { bytes, digest: await sha256Digest(bytes) }, members }
}

async function observeAll(evidence: StaticEvidence, options: StateOptions, challenge: string | null) {
  const observations = new Map<string, Observation>()
  const notObserved = new Map<string, NotObserved>()
  const measured: Readonly<Record<string, unknown>> = {
    "reproducible-build": reproducibleBuild(evidence),
    "layer-change-isolation": layerChangeIsolation(evidence),
    "seeded-determinism": seededDeterminism(await deriveSeeds(challenge, 4), evidence),
  }
  for (const { id, revision, inspect } of criteria.values()) {
    const because = options.notObserved?.[id]
    if (options.skip?.includes(id)) notObserved.set(id, { skippedByContributor: true, because: "skipped" })
    else if (because !== undefined) notObserved.set(id, { skippedByContributor: false, because })
    else {
      const facts = inspect === null ? measured[id] : inspect(evidence)
      const change = options.observe?.[id]
      observations.set(id, { criterion: id, revision, facts: change === undefined ? facts : change(facts) })
    }
  }
  return { observations, notObserved }
}

const membersOf = (observation: Observation): NewMember[] => [
  { path: observationPath(observation.criterion), bytes: encodeObservation(observation), role: "observation" },
  ...(observation.criterion === "seeded-determinism"
    ? [{ path: "logs/seeded-determinism.log", bytes: Buffer.from("ready\n"), role: "log" } as const]
    : []),
]

function reproducibleBuild({ image }: StaticEvidence) {
  const build = {
    manifestDigest: image.manifestDigest,
    configDigest: image.configDigest,
    diffIds: image.layers.map(layer => layer.diffId),
    seconds: 1,
  }
  const engine = { name: "podman", version: "5.0.0" }
  const builds = [build, { ...build, seconds: 2 }]
  const same = { differences: [], omitted: 0, causes: [], layers: [] }
  return { engine, flags: [], sourceDateEpoch: 0, network: "none", builds, ...same }
}

function layerChangeIsolation({ image }: StaticEvidence) {
  const layers = image.layers.map(({ digest, diffId, size, instruction }) => ({
    digest,
    diffId,
    size,
    instruction: instruction?.slice(0, 4096) ?? null,
  }))
  const other = `sha256:${"c".repeat(64)}`
  const last = layers.length - 1
  return {
    engine: { name: "podman", version: "5.0.0" },
    flags: [],
    network: "none",
    imageDigest: image.manifestDigest,
    file: { path: "server.py", because: "copied-source", copiedBy: 1, appended: "\n# a change of one comment\n" },
    base: { manifestDigest: image.manifestDigest, layers },
    changed: {
      manifestDigest: other,
      layers: layers.map((layer, i) => (i < last ? layer : { ...layer, diffId: other })),
    },
    spreads: { layer: last, path: "Dockerfile", line: 1 },
  }
}

function seededDeterminism(seeds: readonly number[], { declaration }: StaticEvidence) {
  const places = [
    { container: 0, session: 0, reset: 0 },
    { container: 0, session: 0, reset: 1 },
    { container: 0, session: 1, reset: 0 },
    { container: 1, session: 0, reset: 0 },
  ]
  const runs = seeds.flatMap((seed, i) =>
    places.map(({ container, session, reset }) => ({
      seed,
      container,
      // A session is of one seed.
      session: session + i * 2,
      reset,
      steps: 4,
      done: true,
      first: sha256(`first ${seed}`),
      trace: sha256(`${seed}`),
    })),
  )
  const facts = {
    protocol: "openenv-ws",
    actionSource: "schema",
    declaredNondeterministic: declaration.declaresNondeterminism,
    runs,
  }
  return { ...facts, differences: [], volatile: [], problems: [], transcript: null }
}

async function honestSnapshot(): Promise<SnapshotDocument> {
  const identifying = [{ name: "machine.id", value: "ab".repeat(32) }]
  const fingerprint = await sha256Digest(canonicalJsonBytes(identifying))
  return {
    schemaVersion: "1.0",
    fingerprint,
    fields: [
      { name: "os.name", value: "Debian GNU/Linux", source: "/etc/os-release", form: "plain" },
      ...identifying.map(field => ({ ...field, source: "/etc/machine-id", form: "hmac-sha256" as const })),
    ],
  }
}
