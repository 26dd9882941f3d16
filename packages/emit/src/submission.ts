import { lstat, readFile } from "node:fs/promises"
import { join } from "node:path"
import {
  type Declaration,
  type Digest,
  EvidenceError,
  limits,
  readDeclaration,
  type SubmissionDocument,
  submissionDigest,
} from "@envidence/core"
import { stageBuildContext } from "@envidence/oci"

/** A submission as it was staged: what is built, hashed and judged is this copy. */
export interface StagedSubmission {
  readonly document: SubmissionDocument
  readonly digest: Digest
  readonly declaration: Declaration
  /** Relative to the context. */
  readonly dockerfile: string
  /** Copies the staged files again, for one build. @throws EvidenceError where the copy is not what was hashed */
  stage(destination: string): Promise<void>
}

/** Where a declaration or Dockerfile may lie; the first Dockerfile there is is the one that is built. */
const DECLARATIONS = ["openenv.yaml", "envidence.yaml"]
const DOCKERFILES = ["server/Dockerfile", "Dockerfile"]

/**
 * Copies exactly the files that the submission's digest covers to `destination`.
 *
 * @throws EvidenceError invalid-submission
 */
export async function stageSubmission(directory: string, destination: string): Promise<StagedSubmission> {
  const draft = readDeclaration(await readTexts(directory, DECLARATIONS))
  const dockerfile = await chooseDockerfile(directory, draft)
  const files = await stageBuildContext(directory, destination, { dockerfile })
  const listed = new Set(files.filter(file => file.kind !== "symlink").map(file => file.path))
  // Read from the copy, so that the texts are the ones that were hashed.
  const wanted = [...DECLARATIONS, dockerfile, ".dockerignore"].filter(path => listed.has(path))
  const texts = await readTexts(destination, wanted)
  const declaration = readDeclaration(texts)
  const kind = declaration.file === "openenv.yaml" ? "openenv" : "image"
  const document: SubmissionDocument = { schemaVersion: "1.0", kind, dockerfile, files: [...files], texts }
  const digest = await submissionDigest(files)
  return {
    document,
    digest,
    declaration,
    dockerfile,
    stage: target => restage(destination, target, dockerfile, digest),
  }
}

async function restage(source: string, target: string, dockerfile: string, digest: Digest): Promise<void> {
  const files = await stageBuildContext(source, target, { dockerfile })
  if ((await submissionDigest(files)) === digest) return
  throw new EvidenceError("invalid-submission", "the staged submission changed while it was observed", {
    hint: "Leave the work folder alone and run again.",
  })
}

/** @throws EvidenceError input-not-found */
export async function demandFolder(directory: string): Promise<void> {
  const found = await lstat(directory).catch(() => undefined)
  if (found === undefined) throw new EvidenceError("input-not-found", `${directory} does not exist`)
  if (!found.isDirectory()) throw new EvidenceError("input-not-found", `${directory} is not a folder`)
}

async function chooseDockerfile(directory: string, { dockerfile }: Declaration): Promise<string> {
  const candidates = dockerfile === null ? DOCKERFILES : [normalizeDockerfile(dockerfile)]
  for (const candidate of candidates) if (await isFile(join(directory, candidate))) return candidate
  throw new EvidenceError("invalid-submission", `there is no Dockerfile: looked for ${candidates.join(" or ")}`, {
    hint: "Add server/Dockerfile, or name it by validation.execution.dockerfile in openenv.yaml.",
  })
}

/** The declared path in one form: the engine would take some others for a web address or its standard input. */
function normalizeDockerfile(declared: string): string {
  const refuse = (why: string, hint: string) =>
    new EvidenceError("invalid-submission", `the Dockerfile ${JSON.stringify(declared)} ${why}`, { hint })
  const parts = declared.split("/").filter(part => part !== "" && part !== ".")
  if (declared.startsWith("/") || parts.includes("..") || parts.length === 0)
    throw refuse("is not a path inside the submission", "Name it relative to the submission's folder, without `..`.")
  // The engine runs the machine's C preprocessor on it, which reads any file.
  if (/\.in$/i.test(declared)) throw refuse("would be preprocessed", "Give it a name that does not end in .in.")
  if (parts.join("/") === "-") throw refuse("would be read from standard input", "Name it Dockerfile.")
  return parts.join("/")
}

const isFile = async (path: string): Promise<boolean> => (await lstat(path).catch(() => undefined))?.isFile() === true

async function readTexts(directory: string, paths: readonly string[]): Promise<SubmissionDocument["texts"]> {
  const texts: SubmissionDocument["texts"] = []
  for (const path of paths) {
    const file = join(directory, path)
    const found = await lstat(file).catch(() => undefined)
    if (found?.isFile() !== true) continue
    if (found.size > limits.sourceTextBytes)
      throw new EvidenceError("invalid-submission", `${path} is larger than ${limits.sourceTextBytes} bytes`)
    const bytes = await readFile(file)
    const text = bytes.toString("utf8")
    // Bound by its digest, so it must survive the way through JSON.
    if (Buffer.from(text).equals(bytes)) texts.push({ path, text })
    else throw new EvidenceError("invalid-submission", `${path} is not UTF-8`)
  }
  return texts
}
