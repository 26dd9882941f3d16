import { lstat } from "node:fs/promises"
import {
  type Declaration,
  type Digest,
  declarationFiles,
  dockerfileCandidates,
  EvidenceError,
  readDeclaration,
  type SubmissionDocument,
  submissionDigest,
} from "@envidence/core"
import { findDockerfile, readSubmissionTexts, stageBuildContext } from "@envidence/oci"

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

/**
 * Copies exactly the files that the submission's digest covers to `destination`.
 *
 * @throws EvidenceError invalid-submission
 */
export async function stageSubmission(directory: string, destination: string): Promise<StagedSubmission> {
  const draft = readDeclaration(await readSubmissionTexts(directory, declarationFiles))
  const dockerfile = await demandDockerfile(directory, draft)
  const files = await stageBuildContext(directory, destination, { dockerfile })
  const listed = new Set(files.filter(file => file.kind !== "symlink").map(file => file.path))
  // Read from the copy, so that the texts are the ones that were hashed.
  const wanted = [...declarationFiles, dockerfile, ".dockerignore"].filter(path => listed.has(path))
  const texts = await readSubmissionTexts(destination, wanted)
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

async function demandDockerfile(directory: string, declaration: Declaration): Promise<string> {
  if (declaration.dockerfile !== null) checkDeclaredDockerfile(declaration.dockerfile)
  const found = await findDockerfile(directory)
  if (found !== null) return found
  const looked = dockerfileCandidates(declaration).join(" or ")
  throw new EvidenceError("invalid-submission", `there is no Dockerfile: looked for ${looked}`, {
    hint:
      declaration.dockerfile === null
        ? "Add server/Dockerfile, or name it by validation.execution.dockerfile in openenv.yaml."
        : "Correct validation.execution.dockerfile in openenv.yaml, or add that file.",
  })
}

/** The engine would take some names for a web address, its standard input or something to preprocess. */
function checkDeclaredDockerfile(declared: string): void {
  const refuse = (why: string, hint: string) =>
    new EvidenceError("invalid-submission", `the Dockerfile ${JSON.stringify(declared)} ${why}`, { hint })
  const parts = declared.split("/").filter(part => part !== "" && part !== ".")
  if (declared.startsWith("/") || parts.includes("..") || parts.length === 0)
    throw refuse("is not a path inside the submission", "Name it relative to the submission's folder, without `..`.")
  // The engine runs the machine's C preprocessor on it, which reads any file.
  if (/\.in$/i.test(declared)) throw refuse("would be preprocessed", "Give it a name that does not end in .in.")
  if (parts.join("/") === "-") throw refuse("would be read from standard input", "Name it Dockerfile.")
}
