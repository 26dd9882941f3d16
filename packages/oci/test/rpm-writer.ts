// Writes rpm's headers and its ndb database for tests.
import { Buffer } from "node:buffer"

export type HeaderValue = string | readonly string[] | number | Buffer

/** A package's header as rpm's databases keep it: counts, index, data. */
export function rpmHeader(tags: Readonly<Record<number, HeaderValue>>): Buffer {
  const data: Buffer[] = []
  let offset = 0
  const index = Object.entries(tags).map(([tag, value]) => {
    const { type, count, bytes } = encode(value)
    const padding = type === 4 ? (4 - (offset % 4)) % 4 : 0
    const entry = Buffer.alloc(16)
    for (const [i, number] of [Number(tag), type, offset + padding, count].entries()) entry.writeUInt32BE(number, 4 * i)
    data.push(Buffer.alloc(padding), bytes)
    offset += padding + bytes.length
    return entry
  })
  const prelude = Buffer.alloc(8)
  prelude.writeUInt32BE(index.length, 0)
  prelude.writeUInt32BE(offset, 4)
  return Buffer.concat([prelude, ...index, ...data])
}

function encode(value: HeaderValue): { type: number; count: number; bytes: Buffer } {
  if (typeof value === "string") return { type: 6, count: 1, bytes: Buffer.from(`${value}\0`) }
  if (Buffer.isBuffer(value)) return { type: 7, count: value.length, bytes: value }
  if (typeof value === "number") {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return { type: 4, count: 1, bytes }
  }
  const strings = value as readonly string[]
  return { type: 8, count: strings.length, bytes: Buffer.from(strings.map(text => `${text}\0`).join("")) }
}

const PAGE_BYTES = 4096

/** `Packages.db` of the headers; `holes` leaves slots free between them, as removed packages do. */
export function ndb(headers: readonly Buffer[], holes = false): Buffer {
  const step = holes ? 2 : 1
  const pages = Math.ceil((32 + headers.length * step * 16) / PAGE_BYTES)
  const list = Buffer.alloc(pages * PAGE_BYTES)
  for (const [i, number] of [0x506d7052, 0, 1, pages, headers.length * step + 1].entries())
    list.writeUInt32LE(number, 4 * i)
  for (let at = 32; at < list.length; at += 16) list.writeUInt32LE(0x746f6c53, at)
  const blobs: Buffer[] = []
  let block = list.length / 16
  for (const [i, header] of headers.entries()) {
    const index = i * step + 1
    const blob = ndbBlob(index, header)
    const slot = 32 + i * step * 16
    for (const [field, number] of [index, block, blob.length / 16].entries())
      list.writeUInt32LE(number, slot + 4 + 4 * field)
    blobs.push(blob)
    block += blob.length / 16
  }
  return Buffer.concat([list, ...blobs])
}

function ndbBlob(index: number, header: Buffer): Buffer {
  const head = Buffer.alloc(16)
  for (const [i, number] of [0x53626c42, index, 1, header.length].entries()) head.writeUInt32LE(number, 4 * i)
  const padding = Buffer.alloc((16 - ((header.length + 28) % 16)) % 16)
  const tail = Buffer.alloc(12)
  tail.writeUInt32LE(adler32(Buffer.concat([head, header, padding])), 0)
  tail.writeUInt32LE(header.length, 4)
  tail.writeUInt32LE(0x45626c42, 8)
  return Buffer.concat([head, header, padding, tail])
}

function adler32(bytes: Buffer): number {
  let [a, b] = [1, 0]
  for (const byte of bytes) {
    a = (a + byte) % 65_521
    b = (b + a) % 65_521
  }
  return b * 65_536 + a
}
