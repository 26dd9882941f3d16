// A small tar writer for tests: it writes whatever it is told, also what no archiver would.
import { Buffer } from "node:buffer"

export interface EntryOptions {
  readonly type?: string
  readonly content?: Buffer | string
  /** What the header claims, where it is not the content's length. */
  readonly size?: number
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: number
  readonly linkName?: Buffer | string
  readonly prefix?: string
  readonly userName?: string
  readonly groupName?: string
  readonly device?: readonly [number, number]
  readonly magic?: "ustar" | "gnu" | "v7"
  /** Changes the header before its checksum is made. */
  readonly patch?: (header: Buffer) => void
  /** Pax records that come before. */
  readonly pax?: Readonly<Record<string, Buffer | string>>
}

const BLOCK = 512

const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, "0")}\0`

export function header(name: Buffer | string, options: EntryOptions = {}): Buffer {
  const block = Buffer.alloc(BLOCK)
  Buffer.from(name).copy(block, 0, 0, 100)
  block.write(octal(options.mode ?? 0o644, 8), 100, "latin1")
  block.write(octal(options.uid ?? 0, 8), 108, "latin1")
  block.write(octal(options.gid ?? 0, 8), 116, "latin1")
  block.write(octal(options.size ?? Buffer.byteLength(options.content ?? ""), 12), 124, "latin1")
  block.write(octal(options.mtime ?? 0, 12), 136, "latin1")
  block.write(options.type ?? "0", 156, "latin1")
  Buffer.from(options.linkName ?? "").copy(block, 157, 0, 100)
  const magic = options.magic ?? "ustar"
  if (magic !== "v7") block.write(magic === "ustar" ? "ustar\x0000" : "ustar  \0", 257, "latin1")
  block.write(options.userName ?? "", 265, "latin1")
  block.write(options.groupName ?? "", 297, "latin1")
  if (options.device) {
    block.write(octal(options.device[0], 8), 329, "latin1")
    block.write(octal(options.device[1], 8), 337, "latin1")
  }
  block.write(options.prefix ?? "", 345, "latin1")
  options.patch?.(block)
  return withChecksum(block)
}

export function withChecksum(block: Buffer): Buffer {
  block.fill(" ", 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1")
  return block
}

export function padded(content: Buffer | string): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)])
}

export function entry(name: Buffer | string, options: EntryOptions = {}): Buffer {
  return Buffer.concat([
    options.pax ? pax(options.pax) : Buffer.alloc(0),
    header(name, options),
    padded(options.content ?? ""),
  ])
}

export function paxRecord(key: string, value: Buffer | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")])
  let length = rest.length
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length
  return Buffer.concat([Buffer.from(`${length}`), rest])
}

export function pax(records: Readonly<Record<string, Buffer | string>>, type: "x" | "g" = "x"): Buffer {
  const content = Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value)))
  return entry("PaxHeaders/0", { type, content })
}

export const gnuLongName = (name: Buffer | string, type: "L" | "K" = "L"): Buffer =>
  entry("././@LongLink", { type, magic: "gnu", content: Buffer.concat([Buffer.from(name), Buffer.of(0)]) })

export const endOfArchive = Buffer.alloc(2 * BLOCK)

export const archive = (...parts: readonly Buffer[]): Buffer => Buffer.concat([...parts, endOfArchive])
