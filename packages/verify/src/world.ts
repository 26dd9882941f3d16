import { createReadStream } from "node:fs"
import { mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { EvidenceError } from "@envidence/core"

/** What the program may touch of the machine; tests give their own. */
export interface World {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  readonly stdin: () => AsyncIterable<Uint8Array>
  readonly now: () => Date
}

/**
 * Reads a file whole, having bounded it first.
 *
 * @throws EvidenceError input-not-found, limit-exceeded, input-unreadable
 */
export async function readBounded(path: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const found = await stat(path)
    if (!found.isFile()) throw new EvidenceError("input-not-found", `${path} is not a file`)
    if (found.size > maxBytes) throw tooLarge(path, maxBytes)
    const chunks: Uint8Array[] = []
    return await collect(createReadStream(path), chunks, path, maxBytes)
  } catch (cause) {
    throw asInputError(cause, path)
  }
}

/** @throws EvidenceError limit-exceeded, input-unreadable */
export async function readStream(
  stream: AsyncIterable<Uint8Array>,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  try {
    return await collect(stream, [], what, maxBytes)
  } catch (cause) {
    throw asInputError(cause, what)
  }
}

async function collect(
  stream: AsyncIterable<Uint8Array>,
  chunks: Uint8Array[],
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  let size = 0
  for await (const chunk of stream) {
    size += chunk.length
    if (size > maxBytes) throw tooLarge(what, maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Writes a report beside its name and moves it into place, so that no reader sees half of it. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const folder = await mkdtemp(join(dirname(path), ".verify-evidence-"))
  try {
    const draft = join(folder, "report")
    await writeFile(draft, text)
    await rename(draft, path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export const readText = async (path: string, maxBytes: number): Promise<string> =>
  Buffer.from(await readBounded(path, maxBytes)).toString("utf8")

/** The version of this package. */
export async function ownVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string
  }
  return version
}

const tooLarge = (what: string, maxBytes: number) =>
  new EvidenceError("limit-exceeded", `${what} is larger than ${maxBytes} bytes`)

function asInputError(cause: unknown, what: string): EvidenceError {
  if (cause instanceof EvidenceError) return cause
  const code = (cause as { code?: unknown } | null)?.code
  if (code === "ENOENT" || code === "ENOTDIR")
    return new EvidenceError("input-not-found", `${what} does not exist`, { cause })
  return new EvidenceError("input-unreadable", `${what} cannot be read: ${String(code ?? cause)}`, { cause })
}
