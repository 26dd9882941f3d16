import {
  type AuthenticatedBundle,
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
  type ImageReference,
  inventoriesOf,
  inventoryImage,
  machinePlatform,
  parseImageReference,
  readBuildContext,
  refuseOffline,
  withImage,
} from "@envidence/oci"
import type { VerifyArguments } from "./arguments.js"
import type { World } from "./world.js"

/** What the evidence must be about, and what was read of it here. */
export interface ReadSubject {
  readonly expected: ExpectedSubject
  readonly own: OwnReading
}

type SubjectArguments = Pick<VerifyArguments, "submission" | "image" | "imageDigest" | "anySubjectUnsafe" | "offline">

/** @throws EvidenceError no-subject-chosen, usage, invalid-submission; as `openImage` and `readLayer` do */
export async function readSubject(
  told: SubjectArguments,
  authenticated: AuthenticatedBundle,
  world: World,
): Promise<ReadSubject> {
  const named = told.imageDigest === undefined ? {} : { image: parseDigest(told.imageDigest) }
  const { expected, own } =
    told.image === undefined ? { expected: named, own: {} } : await readImage(told.image, authenticated, world)
  const submission = told.submission === undefined ? undefined : await readSubmission(told.submission)
  if (Object.keys(expected).length === 0 && submission === undefined)
    return { expected: { anySubjectUnsafe: true }, own }
  return { expected: { ...expected, ...(submission && { submission }) }, own }
}

/** Before anything is read: a subject must be told, in a form that can be. @throws EvidenceError usage, no-subject-chosen */
export function demandSubject(told: SubjectArguments): void {
  const reference: ImageReference | undefined = told.image === undefined ? undefined : parseImageReference(told.image)
  if (told.offline && reference?.kind === "registry") throw refuseOffline(reference)
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

interface ReadImage {
  readonly expected: { readonly image?: Digest; readonly imageConfig?: Digest }
  readonly own: OwnReading
}

/** Reads the image's layers: of an index, the image that the evidence says it is about, if there is such a one. */
function readImage(text: string, { predicate }: AuthenticatedBundle, world: World): Promise<ReadImage> {
  const platforms = [predicate.image.platform, machinePlatform()]
  const { env, temporaryDirectory } = world
  return withImage(parseImageReference(text), { platforms, env, temporaryDirectory }, async image => {
    const isMade = image.manifestOrigin === "made"
    const inventory = await inventoryImage(image)
    // The SBOM names its image by the manifest. Where the source keeps none, only the signer can say which it is.
    const manifestDigest = isMade ? (predicate.image.digest as Digest) : image.manifestDigest
    const { bytes } = buildImageSbom({ ...image, manifestDigest }, inventory)
    return {
      expected: isMade ? { imageConfig: image.configDigest } : { image: image.manifestDigest },
      own: { layers: inventoriesOf(inventory), sbom: bytes, ...(image.index && { index: image.index.bytes }) },
    }
  })
}
