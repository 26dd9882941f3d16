import { EvidenceError } from "../errors.js"

/** Bytes of a tar block: a header, and the unit that contents are padded to. */
export const TAR_BLOCK_BYTES = 512

/**
 * One tar header as it stands in its block, nothing joined, guessed or decoded: names are raw bytes up to their first
 * NUL, and records that override them (pax, GNU long names) are the caller's business.
 */
export interface TarHeader {
  readonly name: Uint8Array
  /** What stands before `name` and a slash; empty except in `ustar` headers. */
  readonly prefix: Uint8Array
  readonly linkName: Uint8Array
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Bytes that the header claims, which may be far more than follow. */
  readonly size: number
  /** Seconds since 1970; negative only in base-256. */
  readonly mtime: number
  /** One character; `"\0"` is what writers before POSIX gave regular files. */
  readonly typeflag: string
  readonly format: "ustar" | "gnu" | "v7"
  readonly userName: Uint8Array
  readonly groupName: Uint8Array
  readonly deviceMajor: number
  readonly deviceMinor: number
}

const EMPTY = new Uint8Array(0)

/**
 * Decodes one 512-byte header block: POSIX.1-1988 ustar, GNU (old, with base-256 numbers) or v7.
 *
 * @throws EvidenceError malformed-archive where a number or the checksum is not exact, or a size, mode, owner or device
 * is negative or beyond 2^53 - 1.
 */
export function decodeTarHeader(block: Uint8Array): TarHeader | "end-of-archive-block" {
  if (block.length !== TAR_BLOCK_BYTES) throw malformed(`a header block of ${block.length} bytes`)
  const sum = unsignedSum(block)
  if (sum === 0) return "end-of-archive-block"
  checkChecksum(block, sum)
  const format = formatOf(block)
  return {
    name: text(block, 0, 100),
    prefix: format === "ustar" ? text(block, 345, isStar(block) ? 131 : 155) : EMPTY,
    linkName: text(block, 157, 100),
    mode: count(block, 100, 8, "mode"),
    uid: count(block, 108, 8, "uid"),
    gid: count(block, 116, 8, "gid"),
    size: count(block, 124, 12, "size"),
    mtime: number(block, 136, 12, "mtime"),
    typeflag: String.fromCharCode(block[156] ?? 0),
    format,
    userName: format === "v7" ? EMPTY : text(block, 265, 32),
    groupName: format === "v7" ? EMPTY : text(block, 297, 32),
    deviceMajor: format === "v7" ? 0 : count(block, 329, 8, "major device number"),
    deviceMinor: format === "v7" ? 0 : count(block, 337, 8, "minor device number"),
  }
}

const malformed = (why: string) => new EvidenceError("malformed-archive", `tar header: ${why}`)

function unsignedSum(block: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < TAR_BLOCK_BYTES; i++) sum += block[i] as number
  return sum
}

const CHECKSUM_OFFSET = 148
const CHECKSUM_BYTES = 8

// POSIX.1-1988: the sum of all bytes as unsigned numbers, the checksum's own eight counted as spaces.
function checkChecksum(block: Uint8Array, sum: number): void {
  let own = 0
  for (let i = CHECKSUM_OFFSET; i < CHECKSUM_OFFSET + CHECKSUM_BYTES; i++) own += block[i] as number
  const expected = sum - own + CHECKSUM_BYTES * 0x20
  if (count(block, CHECKSUM_OFFSET, CHECKSUM_BYTES, "checksum") !== expected) throw malformed("its checksum is wrong")
}

const USTAR = [0x75, 0x73, 0x74, 0x61, 0x72, 0x00, 0x30, 0x30] // "ustar\0" and version "00"
const GNU = [0x75, 0x73, 0x74, 0x61, 0x72, 0x20, 0x20, 0x00] // "ustar  \0"

function formatOf(block: Uint8Array): TarHeader["format"] {
  if (startsAt(block, 257, USTAR)) return "ustar"
  return startsAt(block, 257, GNU) ? "gnu" : "v7"
}

// Schilling's star keeps two times after a shorter prefix, and says so at the end of the block.
const isStar = (block: Uint8Array) => startsAt(block, 508, [0x74, 0x61, 0x72, 0x00])

const startsAt = (block: Uint8Array, offset: number, bytes: readonly number[]) =>
  bytes.every((byte, i) => block[offset + i] === byte)

function text(block: Uint8Array, offset: number, length: number): Uint8Array {
  let end = offset
  while (end < offset + length && block[end] !== 0) end++
  // A copy, since the caller may reuse the block; not by slice, which for Node's buffers makes a view.
  return end === offset ? EMPTY : new Uint8Array(block.subarray(offset, end))
}

function count(block: Uint8Array, offset: number, length: number, what: string): number {
  const value = number(block, offset, length, what)
  if (value < 0) throw malformed(`a negative ${what}`)
  return value
}

function number(block: Uint8Array, offset: number, length: number, what: string): number {
  return ((block[offset] as number) & 0x80) === 0
    ? octal(block, offset, length, what)
    : base256(block, offset, length, what)
}

// Digits, spaces before them, spaces or NULs after them, and an empty field is zero.
function octal(block: Uint8Array, offset: number, length: number, what: string): number {
  const end = offset + length
  let i = offset
  while (i < end && block[i] === 0x20) i++
  let value = 0
  for (; i < end; i++) {
    const digit = (block[i] as number) - 0x30
    if (digit < 0 || digit > 7) break
    value = value * 8 + digit
  }
  for (; i < end; i++) if (block[i] !== 0 && block[i] !== 0x20) throw malformed(`its ${what} is not octal`)
  if (!Number.isSafeInteger(value)) throw malformed(`its ${what} is beyond 2^53`)
  return value
}

// GNU: the highest bit marks the form, the rest is two's complement, big-endian.
function base256(block: Uint8Array, offset: number, length: number, what: string): number {
  const negative = ((block[offset] as number) & 0x40) !== 0
  const fill = negative ? 0xff : 0
  let value = 0
  for (let i = 0; i < length; i++) {
    const byte = i === 0 ? ((block[offset] as number) & 0x7f) | (negative ? 0x80 : 0) : (block[offset + i] as number)
    value = value * 256 + (byte ^ fill)
    if (!Number.isSafeInteger(value)) throw malformed(`its ${what} is beyond 2^53`)
  }
  return negative ? -value - 1 : value
}
