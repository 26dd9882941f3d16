import {
  type Digest,
  EvidenceError,
  type ExpectedSubject,
  isDigest,
  type OwnReading,
  submissionDigest,
} from "@envidence/core"
import {
  buildImageSbom,
  findDockerfile,
  inventoriesOf,
  inventoryImage,
  openOciLayout,
  readBuildContext,
} from "@envidence/oci"
import type { VerifyArguments } from "./arguments.js"

/** What the evidence must be about, and what was read of it here. */
export interface ReadSubject {
  readonly expected: ExpectedSubject
  readonly own: OwnReading
}

type SubjectArguments = Pick<VerifyArguments, "submission" | "image" | "imageDigest" | "anySubjectUnsafe">

/** @throws EvidenceError no-subject-chosen, usage, input-not-found, malformed-image, invalid-submission */
export async function readSubject(told: SubjectArguments): Promise<ReadSubject> {
  const read = told.image === undefined ? undefined : await readImage(told.image)
  const image = read?.digest ?? (told.imageDigest === undefined ? undefined : parseDigest(told.imageDigest))
  const submission = told.submission === undefined ? undefined : await readSubmission(told.submission)
  const own = read?.own ?? {}
  if (image === undefined && submission === undefined) return { expected: { anySubjectUnsafe: true }, own }
  return { expected: { ...(image && { image }), ...(submission && { submission }) }, own }
}

/** Before anything is read: a subject must be told. */
export function demandSubject(told: SubjectArguments): void {
  const named = told.submission !== undefined || told.image !== undefined || told.imageDigest !== undefined
  if (named && told.anySubjectUnsafe)
    throw new EvidenceError("usage", "--any-subject-unsafe contradicts the subject that is named")
  if (named || told.anySubjectUnsafe) return
  throw new EvidenceError("no-subject-chosen", "what the evidence must be about was not said", {
    hint: "Give --submission DIR, --image IMAGE, --image-digest DIGEST, or --any-subject-unsafe.",
  })
}

function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw new EvidenceError("usage", "--image-digest is sha256: and 64 lower-case hexadecimal digits")
}

// The checkout says itself which Dockerfile it is built by: the bundle's word would let a signer leave it out.
async function readSubmission(directory: string): Promise<Digest> {
  return submissionDigest(await readBuildContext(directory, { dockerfile: await findDockerfile(directory) }))
}

async function readImage(reference: string): Promise<{ digest: Digest; own: OwnReading }> {
  const directory = /^oci:(.+)$/s.exec(reference)?.[1]
  if (directory === undefined)
    throw new EvidenceError("usage", "--image takes oci:DIR in this version", {
      hint: "Export the image as an OCI layout, or give its digest by --image-digest.",
    })
  const layout = await openOciLayout(directory)
  const inventory = await inventoryImage(layout)
  const { bytes } = buildImageSbom(layout, inventory)
  const index = layout.index === null ? {} : { index: layout.index.bytes }
  return { digest: layout.manifestDigest, own: { layers: inventoriesOf(inventory), sbom: bytes, ...index } }
}
