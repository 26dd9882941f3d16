import { type AuthenticatedBundle, subjectDigest } from "./authenticate.js"
import { type BundleMember, membersOfRole, type UntrustedBundle } from "./bundle/reader.js"
import type { EvidenceSource, JudgeContext, StaticEvidence } from "./criteria/criterion.js"
import { catalogue, criteria } from "./criteria/index.js"
import { type Digest, digestOfHex, sha256Digest, sha256Hex } from "./digest.js"
import { encodeUtf8 } from "./encoding.js"
import { deriveSeeds } from "./environment/seeds.js"
import { EvidenceError } from "./errors.js"
import { parseInventory } from "./image/inventory.js"
import { buildImageView, type Descriptor, manifestMediaTypes, parseImageIndex } from "./image/manifest.js"
import type { ImageView, InventoryEntry } from "./image/view.js"
import { canonicalJson, canonicalJsonBytes } from "./json.js"
import { judgeCriterion, type NotObserved, type Observations } from "./judge.js"
import { policyDigest, requirementOf, thresholdViolation } from "./policy.js"
import type { ReportDocument } from "./schema/documents.generated.js"
import { declarationFiles, readDeclaration } from "./submission/declaration.js"
import { submissionDigest } from "./submission/digest.js"
import { chooseDockerfile } from "./submission/dockerfile.js"

export type Binding = ReportDocument["bindings"][number]

/**
 * What the evidence must be about. The caller chooses; there is no default. `imageConfig` names the image where its
 * source keeps no manifest: the config says what each layer holds, and not how it is stored.
 */
export type ExpectedSubject =
  | { readonly image?: Digest; readonly imageConfig?: Digest; readonly submission?: Digest }
  | { readonly anySubjectUnsafe: true }

/** What the verifier has read of the image and recomputed, to derive what the bundle only states. */
export interface OwnReading {
  /** The inventory of each layer, from bytes that hash to the image's digest. */
  readonly layers?: readonly (readonly InventoryEntry[])[]
  readonly sbom?: Uint8Array
  /** The index that the image was chosen from, where there was one. */
  readonly index?: Uint8Array
}

declare const bound: unique symbol

/** Authenticated evidence whose parts belong together and to the expected subject. Only `bind` makes one. */
export interface BoundEvidence extends StaticEvidence, Observations {
  readonly [bound]: true
  readonly authenticated: AuthenticatedBundle
  readonly bindings: readonly Binding[]
  /** Sources that the verifier recomputed from bytes that hash to a subject. */
  readonly derived: ReadonlySet<EvidenceSource>
  readonly context: Omit<JudgeContext, "signature">
}

/**
 * SPEC.md, step 3.
 *
 * @throws BindingError with exit code 6; with 4 where an inventory or the image's own documents are malformed
 */
export async function bind(
  authenticated: AuthenticatedBundle,
  expected: ExpectedSubject,
  own: OwnReading = {},
): Promise<BoundEvidence> {
  const bindings: Binding[] = []
  const { predicate, bundle } = authenticated
  const step = async <T>(id: string, check: () => T | Promise<T>, because: (result: T) => string): Promise<T> => {
    try {
      const result = await check()
      bindings.push({ id, outcome: "holds", because: because(result) })
      return result
    } catch (error) {
      throw error instanceof EvidenceError ? new BindingError(error, id, bindings) : error
    }
  }
  await step(
    "subjects",
    () => checkSubjects(authenticated),
    () => "the statement is about this image, this submission and this manifest.json",
  )
  const told = expectedDigests(expected)
  for (const subject of ["image", "submission"] as const) {
    if (wantedOf(told, subject) === undefined) bindings.push(notNamed(subject, expected))
    else
      await step(
        `expected-${subject}`,
        () => checkExpected(authenticated, subject, told),
        () => describeExpected(told, subject),
      )
  }
  const image = await step(
    "image",
    () => bindImage(authenticated, own),
    ({ layers }) => describeImage(layers.length, own),
  )
  await step(
    "submission",
    () => bindTexts(authenticated),
    () => "openenv.yaml and the Dockerfile hash to the submission's list of files",
  )
  await step(
    "snapshot",
    () => bindSnapshot(authenticated),
    () => "the host snapshot is the one that was signed",
  )
  await step(
    "policy",
    () => bindPolicy(authenticated),
    () => `previewed under policy ${predicate.policy.id}/${predicate.policy.version}`,
  )
  const sbom = await step(
    "sbom",
    () => bindSbom(authenticated, own),
    found => (found === null ? "there is no SBOM" : "the SBOM is the one that was signed"),
  )
  const evidence: StaticEvidence = { image, declaration: readDeclaration(bundle.submission.texts), sbom }
  const observations = await step(
    "observations",
    () => bindObservations(authenticated, evidence),
    () => "each observation is the one that was signed; static ones were derived again and agree",
  )
  const context = await contextOf(authenticated)
  await step(
    "previews",
    () => recomputePreviews(authenticated, evidence, observations, context),
    () => "each preview was judged again under the contributor's policy and agrees",
  )
  bindings.push(imageFromSource(authenticated), judgedPlatforms(authenticated, own))
  const result: Omit<BoundEvidence, typeof bound> = {
    ...evidence,
    ...observations,
    authenticated,
    bindings,
    derived: derivedSources(own),
    context,
  }
  return result as BoundEvidence
}

/** A refusal while binding: which binding broke, and what held before it. */
export class BindingError extends EvidenceError {
  readonly bindings: readonly Binding[]

  constructor(refusal: EvidenceError, id: string, held: readonly Binding[]) {
    const hint = refusal.hint === undefined ? {} : { hint: refusal.hint }
    super(refusal.code, refusal.message, { cause: refusal, ...hint })
    this.bindings = [...held, { id, outcome: "broken", because: refusal.message }]
  }
}

const describeImage = (layers: number, own: OwnReading): string =>
  `manifest, config and the inventories of ${layers} layers belong together${own.layers === undefined ? "" : ", and the layers read here hold what the inventories say"}`

async function contextOf({ predicate }: AuthenticatedBundle): Promise<BoundEvidence["context"]> {
  return {
    imageDigest: predicate.image.digest as Digest,
    configDigest: predicate.image.configDigest as Digest,
    sbomDigest: (predicate.sbom?.digest ?? null) as Digest | null,
    builtFromSubmission: predicate.image.builtFromSubmission,
    seeds: await deriveSeeds(predicate.challenge),
  }
}

const broken = (why: string) => new EvidenceError("inconsistent-bundle", why)

const bytesOf = (
  authenticated: Pick<AuthenticatedBundle, "bundle">,
  role: Parameters<typeof membersOfRole>[1],
): BundleMember => membersOfRole(authenticated.bundle, role)[0] as BundleMember

async function checkSubjects({ bundle, statement, predicate }: AuthenticatedBundle): Promise<void> {
  // Another subject would let tools that look for any one match take this evidence for something else.
  if (statement.subject.length !== 3) throw broken(`the statement has ${statement.subject.length} subjects, not three`)
  const manifest = bundle.members.get("image/manifest.json")
  if (manifest === undefined || subjectDigest(statement, "image") !== manifest.sha256)
    throw broken("the statement's subject `image` is not image/manifest.json")
  if (predicate.image.digest !== digestOfHex(manifest.sha256)) throw broken("the predicate names another image")
  const submission = await submissionDigest(bundle.submission.files)
  if (subjectDigest(statement, "submission") !== submission.slice("sha256:".length))
    throw broken("the statement's subject `submission` is not the list of files in submission.json")
  if (predicate.submission?.digest !== submission || predicate.submission.kind !== bundle.submission.kind)
    throw broken("the predicate names another submission")
}

type Told = { readonly image?: Digest; readonly imageConfig?: Digest; readonly submission?: Digest }
type SubjectName = "image" | "submission"

function expectedDigests(expected: ExpectedSubject): Told {
  if ("anySubjectUnsafe" in expected) return {}
  if (wantedOf(expected, "image") === undefined && expected.submission === undefined)
    throw new EvidenceError("no-subject-chosen", "no expected subject was given")
  return expected
}

const wantedOf = (told: Told, subject: SubjectName): Digest | undefined =>
  told[subject] ?? (subject === "image" ? told.imageConfig : undefined)

function checkExpected({ predicate }: AuthenticatedBundle, subject: SubjectName, told: Told): void {
  const compare = (what: string, wanted: Digest | undefined, found: string) => {
    if (wanted !== undefined && found !== wanted)
      throw new EvidenceError(
        "subject-mismatch",
        `the evidence is about another ${what}: expected ${wanted}, found ${found}`,
      )
  }
  compare(subject, told[subject], predicate[subject]?.digest ?? "none")
  if (subject === "image") compare("image, by its config", told.imageConfig, predicate.image.configDigest)
}

const describeExpected = (told: Told, subject: SubjectName): string =>
  told[subject] === undefined
    ? `by its config: ${told.imageConfig}; its manifest, and how its layers are compressed, is the signer's word`
    : `it is the ${subject} that the verifier named: ${told[subject]}`

const notNamed = (subject: SubjectName, expected: ExpectedSubject): Binding => ({
  id: `expected-${subject}`,
  outcome: "not-checked",
  because:
    "anySubjectUnsafe" in expected ? `any ${subject} was accepted, as asked` : `the verifier named no ${subject}`,
})

async function bindImage(authenticated: AuthenticatedBundle, own: OwnReading): Promise<ImageView> {
  const { bundle, predicate } = authenticated
  const stated = membersOfRole(bundle, "layer-inventory")
    .toSorted((a, b) => layerIndex(a.path) - layerIndex(b.path))
    .map((member, i) => {
      if (layerIndex(member.path) !== i) throw broken(`the inventory of layer ${i} is missing`)
      return parseInventory(member.bytes, member.path)
    })
  const image = await buildImageView({
    manifestBytes: bytesOf(authenticated, "image-manifest").bytes,
    configBytes: bytesOf(authenticated, "image-config").bytes,
    layers: stated,
  })
  if (predicate.image.configDigest !== image.configDigest) throw broken("the predicate names another image config")
  if (predicate.image.platform !== image.platform) throw broken("the predicate names another platform")
  bindIndex(authenticated, image)
  if (own.layers !== undefined) compareInventories(image, own.layers)
  return image
}

function bindIndex({ bundle, predicate }: AuthenticatedBundle, image: ImageView): void {
  const [index, ...others] = membersOfRole(bundle, "image-index")
  const digest = index === undefined ? null : digestOfHex(index.sha256)
  if (others.length > 0 || predicate.image.indexDigest !== digest)
    throw broken("the predicate names another image index")
  if (predicate.image.judgedPlatforms.join() !== image.platform)
    throw broken("the predicate names platforms that nobody judged")
  if (index === undefined) return
  const { length } = bytesOf({ bundle }, "image-manifest").bytes
  const fits = ({ mediaType, size, platform = image.platform }: Descriptor) =>
    manifestMediaTypes.includes(mediaType) && size === length && platform === image.platform
  const rows = parseImageIndex(index.bytes).manifests.filter(row => row.digest === image.manifestDigest)
  if (!rows.some(fits)) throw broken("image/index.json does not list the image as what it is")
}

const layerIndex = (path: string): number => Number(/\/(\d+)\.jsonl$/.exec(path)?.[1] ?? -1)

// The bundle's inventories are the signer's word; the layers themselves are not.
function compareInventories(image: ImageView, own: readonly (readonly InventoryEntry[])[]): void {
  for (const [i, { entries }] of image.layers.entries()) {
    const real = own[i] ?? []
    for (let row = 0; row < Math.max(entries.length, real.length); row++) {
      const stated = entries[row]
      const found = real[row]
      if (stated !== undefined && found !== undefined && canonicalJson(stated) === canonicalJson(found)) continue
      const path = (stated ?? found)?.path ?? "an entry whose name is not UTF-8"
      throw new EvidenceError(
        "observation-disagrees",
        `layer ${i} ${path}: the bundle's inventory is not what the layer holds`,
      )
    }
  }
}

async function bindTexts({ bundle }: AuthenticatedBundle): Promise<void> {
  const rows = new Map(bundle.submission.files.map(row => [row.path, row]))
  if (rows.size !== bundle.submission.files.length) throw broken("submission.json lists a path twice")
  for (const { path, text } of bundle.submission.texts) {
    const row = rows.get(path)
    if (row === undefined || row.kind === "symlink" || row.sha256 !== (await sha256Hex(encodeUtf8(text))))
      throw broken(`the text of ${path} in submission.json is not the file that it lists`)
  }
  // Without its text, what a declaration asks for would count as not asked.
  const told = new Set(bundle.submission.texts.map(({ path }) => path))
  const untold = declarationFiles.find(path => rows.has(path) && !told.has(path))
  if (untold !== undefined) throw broken(`submission.json lists ${untold} and leaves out its text`)
  const dockerfile = chooseDockerfile(readDeclaration(bundle.submission.texts), path => told.has(path))
  if (dockerfile === undefined || bundle.submission.dockerfile !== dockerfile)
    throw broken("submission.json names another Dockerfile than its openenv.yaml, or leaves out its text")
}

async function bindSnapshot(authenticated: AuthenticatedBundle): Promise<void> {
  const { predicate, bundle } = authenticated
  const { sha256 } = bytesOf(authenticated, "snapshot")
  if (predicate.snapshot.digest !== digestOfHex(sha256)) throw broken("the predicate names another snapshot.json")
  const identifying = bundle.snapshot.fields
    .filter(field => field.form === "hmac-sha256")
    .map(({ name, value }) => ({ name, value }))
  const fingerprint = await sha256Digest(canonicalJsonBytes(identifying))
  if (fingerprint !== bundle.snapshot.fingerprint || fingerprint !== predicate.snapshot.fingerprint)
    throw broken("the host's fingerprint is not that of the snapshot's identifying fields")
}

async function bindPolicy({ predicate, bundle }: AuthenticatedBundle): Promise<void> {
  const { id, version, digest } = predicate.policy
  const { policy } = bundle
  if (policy.id !== id || policy.version !== version || (await policyDigest(policy)) !== digest)
    throw broken("the predicate names another policy than policy.json")
  // Another revision may have other thresholds; nothing is judged by them here.
  const ours = new Set(predicate.criteria.filter(isOwnRevision).map(row => row.id))
  const loose = thresholdViolation(policy, id => ours.has(id))
  if (loose !== undefined) throw broken(`policy.json: ${loose}`)
}

async function bindSbom(authenticated: AuthenticatedBundle, own: OwnReading): Promise<StaticEvidence["sbom"]> {
  const [member, ...others] = membersOfRole(authenticated.bundle, "sbom")
  const digest = member === undefined ? null : digestOfHex(member.sha256)
  if (others.length > 0 || (authenticated.predicate.sbom?.digest ?? null) !== digest)
    throw broken("the predicate names another SBOM than sbom.cdx.json")
  if (member === undefined || digest === null) return null
  if (own.sbom !== undefined && (await sha256Digest(own.sbom)) !== digest)
    throw new EvidenceError("observation-disagrees", "sbom.cdx.json is not what the image's layers give")
  return { bytes: member.bytes, digest }
}

async function bindObservations(authenticated: AuthenticatedBundle, evidence: StaticEvidence): Promise<Observations> {
  const { predicate, bundle } = authenticated
  const named = new Map(predicate.criteria.map(row => [row.id, row]))
  if (named.size !== predicate.criteria.length) throw broken("the predicate lists a criterion twice")
  for (const [id, observation] of bundle.observations) {
    const row = named.get(id)
    const member = bundle.members.get(`observations/${id}.json`)
    if (
      member === undefined ||
      row?.observation !== digestOfHex(member.sha256) ||
      row.revision !== observation.revision
    )
      throw broken(`the predicate names another observation of ${id}`)
    checkDerivation(id, observation, evidence)
    checkArtifact(id, observation.facts, bundle)
    checkDeclaration(id, observation.facts, evidence)
  }
  const absent = predicate.criteria.find(row => row.observation !== null && !bundle.observations.has(row.id))
  if (absent !== undefined) throw broken(`the observation of ${absent.id} that the predicate names is not there`)
  const notObserved = new Map<string, NotObserved>(
    predicate.criteria
      .filter(row => row.observation === null)
      .map(row => [
        row.id,
        { skippedByContributor: row.skippedByContributor, because: row.notObserved ?? "no reason given" },
      ]),
  )
  return { observations: bundle.observations, notObserved }
}

// The submission says it itself, whatever the signer says of it.
function checkDeclaration(id: string, facts: unknown, { declaration }: StaticEvidence): void {
  const { declaredNondeterministic } = facts as { declaredNondeterministic?: unknown }
  if (declaredNondeterministic !== undefined && declaredNondeterministic !== declaration.declaresNondeterminism)
    throw new EvidenceError(
      "observation-disagrees",
      `the observation of ${id} says of nondeterminism what openenv.yaml does not`,
    )
}

// What an observation points at is the file that is there.
function checkArtifact(id: string, facts: unknown, bundle: UntrustedBundle): void {
  const { transcript } = facts as { transcript?: { path?: unknown; sha256?: unknown } | null }
  if (transcript == null) return
  const member = bundle.members.get(String(transcript.path))
  if (member?.role !== "artifact" || member.sha256 !== transcript.sha256)
    throw broken(`the observation of ${id} points at an artifact that is not there`)
}

// A static observation is a function of the bundle's own bytes: whoever states another result lies.
function checkDerivation(
  id: string,
  { revision, facts }: { revision: number; facts: unknown },
  evidence: StaticEvidence,
): void {
  const criterion = criteria.get(id)
  if (criterion?.inspect == null || revision !== criterion.revision) return
  if (canonicalJson(criterion.inspect(evidence)) !== canonicalJson(facts))
    throw new EvidenceError("observation-disagrees", `the observation of ${id} is not what the bundle's own bytes give`)
}

const isOwnRevision = ({ id, revision }: { id: string; revision: number }): boolean =>
  (criteria.get(id)?.revision ?? 0) === revision

function recomputePreviews(
  { predicate, bundle }: AuthenticatedBundle,
  { declaration }: StaticEvidence,
  observations: Observations,
  context: BoundEvidence["context"],
): void {
  const rows = new Map(catalogue.map(row => [row.id, row]))
  for (const { id, revision, preview } of predicate.criteria) {
    const row = rows.get(id)
    // Another revision judges other facts: what it previewed cannot be repeated here, and it will be unmeasured.
    if (row === undefined || !isOwnRevision({ id, revision })) continue
    const requirement = requirementOf(bundle.policy, id, declaration)
    const { outcome } = judgeCriterion(row, observations, requirement, { ...context, signature: "to-be-signed" })
    if (outcome !== preview)
      throw new EvidenceError(
        "preview-disagrees",
        `${id}: the bundle previews ${preview}, its observation gives ${outcome}`,
      )
  }
}

function imageFromSource({ predicate }: AuthenticatedBundle): Binding {
  const because = predicate.image.builtFromSubmission
    ? "the signer's word: only a second signer's build could confirm it"
    : "not tied: the image was given, not built by the run that made this evidence"
  return { id: "image-from-source", outcome: "not-checked", because }
}

// An index may offer images that nobody judged to those who pull for another platform.
function judgedPlatforms({ bundle, predicate }: AuthenticatedBundle, own: OwnReading): Binding {
  const indexes = [own.index, membersOfRole(bundle, "image-index")[0]?.bytes]
  const count = Math.max(1, ...indexes.map(bytes => (bytes === undefined ? 1 : imagesOf(bytes))))
  const because = `1 of ${count} (${predicate.image.platform})`
  return { id: "platforms", outcome: count === 1 ? "holds" : "not-checked", because }
}

// Whatever is not surely an attestation may be an image that somebody pulls.
const imagesOf = (index: Uint8Array): number =>
  parseImageIndex(index).manifests.filter(
    ({ platform, annotations }) =>
      platform !== "unknown/unknown" || annotations["vnd.docker.reference.type"] !== "attestation-manifest",
  ).length

function derivedSources(own: OwnReading): ReadonlySet<EvidenceSource> {
  const derived: EvidenceSource[] = ["image-config", "submission-texts"]
  if (own.layers !== undefined) derived.push("image-layers")
  if (own.sbom !== undefined) derived.push("sbom")
  return new Set(derived)
}
