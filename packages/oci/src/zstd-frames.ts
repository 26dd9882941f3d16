import { EvidenceError } from "@envidence/core"

// Node's decoder drops whatever follows a frame in the same write, and stops for good at a skippable frame. Layers have
// both (zstd:chunked), so this walks the frames (RFC 8878 section 3.1): it cuts the stream where they end, leaves out
// skippable ones, and refuses what is neither.

const FRAME_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
const isSkippable = (magic: number) => (magic & 0xfffffff0) >>> 0 === 0x184d2a50

const malformed = (why: string) => new EvidenceError("malformed-image", `zstd: ${why}`)

/** Yields the bytes of all frames but skippable ones; a frame's last byte always ends a chunk. */
export async function* splitZstdFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const walker = new FrameWalker()
  for await (const chunk of source) yield* walker.walk(chunk)
  walker.end()
}

type Step =
  | "magic"
  | "skippable-size"
  | "skippable"
  | "descriptor"
  | "header"
  | "block-header"
  | "block"
  | "last-block"
  | "checksum"

const OUTSIDE: ReadonlySet<Step> = new Set(["magic", "skippable-size", "skippable"])
const UNREAD: ReadonlySet<Step> = new Set(["skippable", "header", "block", "last-block", "checksum"])

class FrameWalker {
  #step: Step = "magic"
  /** Bytes that the step still needs. */
  #missing = 4
  /** The step's bytes as a little-endian number, where they matter. */
  #value = 0
  #length = 0
  #hasChecksum = false
  #magicDue = false

  /** @throws EvidenceError malformed-image where the stream ends inside a frame. */
  end(): void {
    if (this.#step !== "magic" || this.#length > 0) throw malformed("the data breaks off inside a frame")
  }

  *walk(chunk: Buffer): Generator<Buffer> {
    let start = 0
    for (let position = 0; position < chunk.length; ) {
      if (OUTSIDE.has(this.#step)) start = -1
      else if (start < 0) start = position
      position = this.#take(chunk, position)
      if (this.#missing > 0) break
      const before = this.#step
      this.#advance()
      if (before === "magic") this.#magicDue = this.#step === "descriptor"
      if (!OUTSIDE.has(before) && this.#step === "magic") yield this.#withMagic(chunk.subarray(start, position))
    }
    if (start >= 0 && start < chunk.length && !OUTSIDE.has(this.#step)) yield this.#withMagic(chunk.subarray(start))
  }

  // A magic number is held back until it is known to open a frame. One write for both: each costs a trip to a thread.
  #withMagic(piece: Buffer): Buffer {
    if (!this.#magicDue) return piece
    this.#magicDue = false
    return Buffer.concat([FRAME_MAGIC, piece])
  }

  #take(chunk: Buffer, position: number): number {
    const taken = Math.min(this.#missing, chunk.length - position)
    if (!UNREAD.has(this.#step))
      for (let i = 0; i < taken; i++) this.#value += (chunk[position + i] as number) * 256 ** (this.#length + i)
    this.#length += taken
    this.#missing -= taken
    return position + taken
  }

  #advance(): void {
    do this.#next()
    while (this.#missing === 0)
  }

  #next(): void {
    const value = this.#value
    switch (this.#step) {
      case "magic":
        this.#enterFrame(value)
        break
      case "skippable-size":
        this.#enter("skippable", value)
        break
      case "descriptor":
        this.#hasChecksum = (value & 0x04) !== 0
        this.#enter("header", headerBytes(value))
        break
      case "block-header":
        this.#enter((value & 1) === 1 ? "last-block" : "block", blockBytes(value))
        break
      case "header":
      case "block":
        this.#enter("block-header", 3)
        break
      case "last-block":
        if (this.#hasChecksum) this.#enter("checksum", 4)
        else this.#enter("magic", 4)
        break
      case "skippable":
      case "checksum":
        this.#enter("magic", 4)
    }
  }

  #enterFrame(magic: number): void {
    if (isSkippable(magic)) this.#enter("skippable-size", 4)
    else if (magic === FRAME_MAGIC.readUInt32LE()) this.#enter("descriptor", 1)
    else throw malformed("what follows is not a frame")
  }

  #enter(step: Step, missing: number): void {
    this.#step = step
    this.#missing = missing
    this.#value = 0
    this.#length = 0
  }
}

// Section 3.1.1.1.1: window descriptor, dictionary id and content size, by the flags in the descriptor.
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0
  const sizeFlag = descriptor >> 6
  const contentSize = sizeFlag === 0 ? Number(singleSegment) : 2 ** sizeFlag
  return Number(!singleSegment) + ([0, 1, 2, 4][descriptor & 3] as number) + contentSize
}

const RUN_LENGTH = 1
const RESERVED = 3

function blockBytes(header: number): number {
  const type = (header >> 1) & 3
  if (type === RESERVED) throw malformed("a block of a reserved type")
  return type === RUN_LENGTH ? 1 : header >> 3
}
