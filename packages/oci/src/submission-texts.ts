import { lstat, readFile } from "node:fs/promises"
import { join } from "node:path"
import {
  chooseDockerfile,
  declarationFiles,
  dockerfileCandidates,
  EvidenceError,
  limits,
  readDeclaration,
  type SubmissionDocument,
} from "@envidence/core"

/**
 * The Dockerfile of a submission's folder, by its own declaration; null where there is none.
 *
 * @throws EvidenceError invalid-submission where a declaration cannot be text
 */
export async function findDockerfile(directory: string): Promise<string | null> {
  const declaration = readDeclaration(await readSubmissionTexts(directory, declarationFiles))
  const present = new Set<string>()
  for (const path of dockerfileCandidates(declaration)) if (await isFile(join(directory, path))) present.add(path)
  return chooseDockerfile(declaration, path => present.has(path)) ?? null
}

/**
 * Those of the files that are there, as text.
 *
 * @throws EvidenceError invalid-submission for a file that is too large or not UTF-8
 */
export async function readSubmissionTexts(
  directory: string,
  paths: readonly string[],
): Promise<SubmissionDocument["texts"]> {
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
    if (!Buffer.from(text).equals(bytes)) throw new EvidenceError("invalid-submission", `${path} is not UTF-8`)
    texts.push({ path, text })
  }
  return texts
}

const isFile = async (path: string): Promise<boolean> => (await lstat(path).catch(() => undefined))?.isFile() === true
