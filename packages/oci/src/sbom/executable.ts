import { CARGO_AUDITABLE_SECTION } from "./cargo.js"
import { GO_BUILD_INFO_MAGIC, GO_BUILD_INFO_SECTION } from "./go.js"

/** What compilers wrote into a program of the packages it is made of. */
export interface EmbeddedPackages {
  readonly goBuildInfo?: Buffer
  readonly cargoAuditable?: Buffer
  /** Why one of the two is there but could not be kept. */
  readonly because?: string
}

const HEAD_BYTES = 4096
const READ_ONLY_BYTES = 33_554_432
const WRITABLE_BYTES = 16_777_216
const SECTION_BYTES = 4_194_304
const SCRATCH_BYTES = 1_048_576
const MAX_SECTIONS = 4096
const MAX_MENTIONS = 1024
const KEPT_BYTES = READ_ONLY_BYTES + WRITABLE_BYTES + MAX_SECTIONS * 64

const NOTHING = Buffer.alloc(0)

// A section's name, in the table of names.
const NAMES = [GO_BUILD_INFO_SECTION, CARGO_AUDITABLE_SECTION].map(name => Buffer.from(`${name}\0`))
const OVERLAP = Math.max(...NAMES.map(({ length }) => length)) - 1

/** Whether a file may be a program, by the first byte of it. */
export const mayBeExecutable = (size: number, firstByte: number | undefined): boolean =>
  firstByte === 0x7f && size >= 64

/** Memory that one program after the other is kept in: what is found is copied out of it. */
export class Scratch {
  #memory = NOTHING
  #used = 0

  clear(): void {
    this.#used = 0
  }

  take(bytes: number): Buffer {
    // What was taken before stays with whoever has it; twice as much, so that few programs need more again.
    if (this.#used + bytes > this.#memory.length) {
      this.#memory = Buffer.allocUnsafeSlow(
        Math.max(bytes, Math.min(2 * this.#memory.length, KEPT_BYTES), SCRATCH_BYTES),
      )
      this.#used = 0
    }
    this.#used += bytes
    return this.#memory.subarray(this.#used - bytes, this.#used)
  }
}

/**
 * Finds the packages of one ELF program in a single pass, front to back. The table of sections that says where they lie
 * comes last, so the pass keeps what the program headers, which come first, call data (up to a bound) and the places at
 * which names of sections stand. Memory is bounded by that, whatever the program's size.
 */
export class ExecutableReader {
  readonly #size: number
  readonly #scratch: Scratch
  /** The first bytes, until there are enough to read the headers. */
  #head: Buffer | undefined
  #planned = false
  #seen = 0
  #program: Program | undefined
  #captures: readonly Capture[] = []
  #mentions: Mentions | undefined

  constructor(size: number, scratch: Scratch) {
    this.#size = size
    this.#scratch = scratch
  }

  /** The next piece of the file, valid only during the call. */
  add(piece: Buffer): void {
    if (this.#planned) this.#take(piece)
    else this.#addToHead(this.#head === undefined ? piece : Buffer.concat([this.#head, piece]))
  }

  /** What was found; undefined for what is no program, or one that names no packages. */
  finish(): EmbeddedPackages | undefined {
    const program = this.#program
    if (program === undefined || this.#mentions === undefined) return undefined
    return new Findings(program, this.#captures, this.#mentions).finish()
  }

  #addToHead(start: Buffer): void {
    if (start.length < Math.min(this.#size, HEAD_BYTES)) {
      this.#head = Buffer.from(start)
      return
    }
    this.#planned = true
    this.#head = undefined
    this.#plan(start.subarray(0, HEAD_BYTES))
    this.#take(start)
  }

  #plan(head: Buffer): void {
    this.#program = readProgram(head, this.#size)
    if (this.#program === undefined) return
    this.#scratch.clear()
    this.#captures = plan(this.#program, this.#size, this.#scratch)
    this.#mentions = new Mentions(this.#program.loaded, this.#size)
  }

  #take(piece: Buffer): void {
    if (this.#program !== undefined) {
      for (const capture of this.#captures) capture.take(piece, this.#seen)
      this.#mentions?.take(piece, this.#seen)
    }
    this.#seen += piece.length
  }
}

interface Range {
  readonly start: number
  readonly end: number
}

interface Segment extends Range {
  readonly writable: boolean
  readonly executable: boolean
}

/** What the head of an ELF file tells (System V ABI, "ELF Header" and "Program Header"). */
interface Program {
  readonly fields: Fields
  readonly loaded: readonly Segment[]
  readonly sections: Range
  readonly sectionBytes: number
  /** Which section holds the names of the others. */
  readonly namesIndex: number
}

/** Numbers of a file's byte order and word size. */
class Fields {
  readonly wide: boolean
  readonly #bigEndian: boolean

  constructor(head: Buffer) {
    this.wide = head[4] === 2
    this.#bigEndian = head[5] === 2
  }

  half = (bytes: Buffer, at: number) => (this.#bigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at))

  word = (bytes: Buffer, at: number) => (this.#bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at))

  /** An offset or a size; one beyond 2^53 lies in no file. */
  address(bytes: Buffer, at: number): number {
    if (!this.wide) return this.word(bytes, at)
    return Number(this.#bigEndian ? bytes.readBigUInt64BE(at) : bytes.readBigUInt64LE(at))
  }
}

const PROGRAM_OR_LIBRARY = [2, 3] // ET_EXEC, ET_DYN

function readProgram(head: Buffer, size: number): Program | undefined {
  if (head.length < 64 || head.toString("latin1", 0, 4) !== "\x7fELF") return undefined
  const fields = new Fields(head)
  if (!PROGRAM_OR_LIBRARY.includes(fields.half(head, 16))) return undefined
  const at = fields.wide ? { sections: 40, counts: 54 } : { sections: 32, counts: 42 }
  const start = fields.address(head, at.sections)
  const sectionBytes = fields.half(head, at.counts + 4)
  const sections = Math.min(fields.half(head, at.counts + 6), MAX_SECTIONS)
  return {
    fields,
    loaded: readSegments(head, fields, at.counts, size),
    sections: { start, end: Math.min(size, start + sections * sectionBytes) },
    sectionBytes,
    namesIndex: fields.half(head, at.counts + 8),
  }
}

const LOAD = 1
const EXECUTABLE = 1
const WRITABLE = 2

/** None where the table lies elsewhere: patchelf moves it to the end of what it changes. */
function readSegments(head: Buffer, fields: Fields, counts: number, size: number): Segment[] {
  const { wide } = fields
  const table = fields.address(head, wide ? 32 : 28)
  const entryBytes = fields.half(head, counts)
  const count = fields.half(head, counts + 2)
  if (entryBytes < (wide ? 56 : 32) || table + count * entryBytes > head.length) return []
  const segments: Segment[] = []
  for (let at = table; at < table + count * entryBytes; at += entryBytes) {
    if (fields.word(head, at) !== LOAD) continue
    const flags = fields.word(head, at + (wide ? 4 : 24))
    const start = fields.address(head, at + (wide ? 8 : 4))
    const end = Math.min(size, start + fields.address(head, at + (wide ? 32 : 16)))
    segments.push({ start, end, writable: (flags & WRITABLE) !== 0, executable: (flags & EXECUTABLE) !== 0 })
  }
  return segments
}

function plan({ loaded, sections }: Program, size: number, scratch: Scratch): Capture[] {
  const data = loaded.filter(segment => !segment.executable)
  const readOnly = data.filter(segment => !segment.writable)
  // Older linkers put data that is only read beside the code.
  const beside = readOnly.length > 0 ? [] : loaded.filter(segment => segment.executable)
  const whole = loaded.length === 0 ? [{ start: 0, end: size }] : []
  const writable = [...data.filter(segment => segment.writable), ...whole]
  return [
    ...within(MAX_SECTIONS * 64, [sections], scratch),
    ...within(READ_ONLY_BYTES, [...readOnly, ...beside], scratch),
    ...within(WRITABLE_BYTES, writable, scratch, true),
  ]
}

function within(budget: number, ranges: readonly Range[], scratch: Scratch, mayBeMarked = false): Capture[] {
  let left = budget
  return ranges.map(range => {
    const capture = new Capture(range, left, scratch, mayBeMarked)
    left -= capture.bytes
    return capture
  })
}

/** The start of one range of the file. */
class Capture {
  readonly start: number
  readonly bytes: number
  /** Go's mark is data that may be written; elsewhere it is a constant of a program that looks for it. */
  readonly mayBeMarked: boolean
  readonly #scratch: Scratch
  #kept: Buffer | undefined
  #fill = 0

  constructor({ start, end }: Range, limit: number, scratch: Scratch, mayBeMarked: boolean) {
    this.start = start
    this.#scratch = scratch
    this.mayBeMarked = mayBeMarked
    this.bytes = Math.max(0, Math.min(end - start, limit))
  }

  take(piece: Buffer, offset: number): void {
    const from = Math.max(this.start, offset)
    const to = Math.min(this.start + this.bytes, offset + piece.length)
    if (from >= to) return
    this.#kept ??= this.#scratch.take(this.bytes)
    piece.copy(this.#kept, from - this.start, from - offset, to - offset)
    this.#fill = to - this.start
  }

  get kept(): Buffer {
    return this.#kept?.subarray(0, this.#fill) ?? NOTHING
  }

  /** Undefined where a part of the range was not kept. */
  slice(start: number, bytes: number): Buffer | undefined {
    const at = start - this.start
    return at < 0 || at + bytes > this.#fill ? undefined : this.kept.subarray(at, at + bytes)
  }
}

/** Where names of the wanted sections stand outside of what is loaded, which is where linkers put them. */
class Mentions {
  readonly #gaps: readonly Range[]
  readonly #at: Set<number>[] = NAMES.map(() => new Set())
  /** The last bytes of the gap that the next piece continues. */
  #tail: Buffer = NOTHING

  constructor(loaded: readonly Range[], size: number) {
    this.#gaps = gapsBetween(loaded, size)
  }

  has(name: number, offset: number): boolean {
    return this.#at[name]?.has(offset) === true
  }

  get any(): boolean {
    return this.#at.some(({ size }) => size > 0)
  }

  take(piece: Buffer, offset: number): void {
    for (const gap of this.#gaps) {
      const from = Math.max(gap.start, offset)
      const to = Math.min(gap.end, offset + piece.length)
      if (from < to) this.#takePart(piece.subarray(from - offset, to - offset), from, from > gap.start)
    }
  }

  #takePart(part: Buffer, offset: number, continues: boolean): void {
    const seam = continues ? Buffer.concat([this.#tail, part.subarray(0, OVERLAP)]) : NOTHING
    this.#search(seam, offset - this.#tail.length)
    this.#search(part, offset)
    this.#tail = Buffer.from((part.length < OVERLAP && continues ? seam : part).subarray(-OVERLAP))
  }

  #search(bytes: Buffer, offset: number): void {
    for (const [i, name] of NAMES.entries())
      for (let at = bytes.indexOf(name); at >= 0 && !this.tooMany(i); at = bytes.indexOf(name, at + 1))
        this.#at[i]?.add(offset + at)
  }

  /** Then no more are looked for: a file full of them would cost its reader minutes. */
  tooMany(name: number): boolean {
    return (this.#at[name]?.size ?? 0) >= MAX_MENTIONS
  }
}

function gapsBetween(loaded: readonly Range[], size: number): Range[] {
  const gaps: Range[] = []
  let start = 0
  for (const range of [...loaded].sort((a, b) => a.start - b.start)) {
    if (range.start > start) gaps.push({ start, end: range.start })
    start = Math.max(start, range.end)
  }
  return start < size ? [...gaps, { start, end: size }] : gaps
}

// Of a section that debugging information has been taken from: only its name is left (SHT_NOBITS).
const WITHOUT_BYTES = 8

class Findings {
  readonly #program: Program
  readonly #captures: readonly Capture[]
  readonly #mentions: Mentions

  constructor(program: Program, captures: readonly Capture[], mentions: Mentions) {
    this.#program = program
    this.#captures = captures
    this.#mentions = mentions
  }

  finish(): EmbeddedPackages | undefined {
    const [go, cargo] = this.#mentions.any ? this.#sections() : []
    const goBuildInfo = go === undefined ? this.#marked() : this.#content(go)
    const cargoAuditable = cargo === undefined ? undefined : this.#content(cargo)
    const lost = [
      go !== undefined && goBuildInfo === undefined,
      cargo !== undefined && cargoAuditable === undefined,
      goBuildInfo === undefined && this.#mentions.tooMany(0),
      cargoAuditable === undefined && this.#mentions.tooMany(1),
    ]
    if (goBuildInfo === undefined && cargoAuditable === undefined && !lost.includes(true)) return undefined
    return {
      ...(goBuildInfo === undefined ? {} : { goBuildInfo }),
      ...(cargoAuditable === undefined ? {} : { cargoAuditable }),
      ...(lost.includes(true) ? { because: LOST } : {}),
    }
  }

  /** The wanted sections, in the order of their names. */
  #sections(): (Range | undefined)[] {
    const { fields, sections, sectionBytes, namesIndex } = this.#program
    const { wide } = fields
    const table = this.#slice(sections.start, sections.end - sections.start)
    if (table === undefined || sectionBytes < (wide ? 64 : 40)) return []
    const range = (at: number): Range => {
      const start = fields.address(table, at + (wide ? 24 : 16))
      return { start, end: start + fields.address(table, at + (wide ? 32 : 20)) }
    }
    if ((namesIndex + 1) * sectionBytes > table.length) return []
    const names = range(namesIndex * sectionBytes).start
    const found: (Range | undefined)[] = NAMES.map(() => undefined)
    for (let at = 0; at + sectionBytes <= table.length; at += sectionBytes)
      for (const i of NAMES.keys())
        if (this.#mentions.has(i, names + fields.word(table, at)) && fields.word(table, at + 4) !== WITHOUT_BYTES)
          found[i] ??= range(at)
    return found
  }

  #content({ start, end }: Range): Buffer | undefined {
    return end - start > SECTION_BYTES ? undefined : copied(this.#slice(start, end - start))
  }

  #slice(start: number, bytes: number): Buffer | undefined {
    for (const capture of this.#captures) {
      const slice = capture.slice(start, bytes)
      if (slice !== undefined) return slice
    }
    return undefined
  }

  // A program without a table of sections still has the mark, on its boundary (debug/buildinfo, searchMagic).
  #marked(): Buffer | undefined {
    for (const { kept, start } of this.#captures.filter(capture => capture.mayBeMarked)) {
      for (let at = kept.indexOf(GO_BUILD_INFO_MAGIC); at >= 0; at = kept.indexOf(GO_BUILD_INFO_MAGIC, at + 1))
        if ((start + at) % 16 === 0) return copied(kept.subarray(at, at + SECTION_BYTES))
    }
    return undefined
  }
}

const LOST = "what its compiler wrote of its packages lies beyond the part of a program that is read"

// A copy, so that the rest of what was kept can go.
const copied = (bytes: Buffer | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes))
