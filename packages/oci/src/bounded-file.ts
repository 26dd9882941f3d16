import { createReadStream } from "node:fs"
import { mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { EvidenceError } from "@envidence/core"

/**
 * Reads a file whole, having bounded it first.
 *
 * @throws EvidenceError input-not-found, limit-exceeded, input-unreadable
 */
export async function readBoundedFile(path: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const found = await stat(path)
    if (!found.isFile()) throw new EvidenceError("input-not-found", `${path} is not a file`)
    if (found.size > maxBytes) throw tooLarge(path, maxBytes)
    return await readBoundedStream(createReadStream(path), path, maxBytes)
  } catch (cause) {
    throw asInputError(cause, path)
  }
}

/** `what` names the stream in messages. @throws EvidenceError limit-exceeded, input-unreadable */
export async function readBoundedStream(
  stream: AsyncIterable<Uint8Array>,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of stream) {
      size += chunk.length
      if (size > maxBytes) throw tooLarge(what, maxBytes)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw asInputError(cause, what)
  }
  return Buffer.concat(chunks)
}

/** Writes beside the name and moves into place, so that nobody ever sees half of it. */
export async function writeFileAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const folder = await mkdtemp(join(dirname(path), ".envidence-"))
  try {
    const draft = join(folder, basename(path))
    await writeFile(draft, content)
    await rename(draft, path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const tooLarge = (what: string, maxBytes: number) =>
  new EvidenceError("limit-exceeded", `${what} is larger than ${maxBytes} bytes`)

function asInputError(cause: unknown, what: string): EvidenceError {
  if (cause instanceof EvidenceError) return cause
  const code = (cause as { code?: unknown } | null)?.code
  const missing = code === "ENOENT" || code === "ENOTDIR"
  if (missing) return new EvidenceError("input-not-found", `${what} does not exist`, { cause })
  return new EvidenceError("input-unreadable", `${what} cannot be read: ${String(code ?? cause)}`, { cause })
}
