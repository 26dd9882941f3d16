// A reader of the values in a Berkeley DB hash file (dbinc/db_page.h), in either byte order. Order and keys do not
// matter here, so the pages are read one after the other and no bucket is looked up.

const HASH_MAGIC = 0x06_15_61
const HASH_META_PAGE = 8
const HASH_PAGES: ReadonlySet<number> = new Set([2, 13]) // P_HASH_UNSORTED, P_HASH
const OVERFLOW_PAGE = 7
const PAGE_HEADER_BYTES = 26
const IN_PAGE = 1 // H_KEYDATA
const OFF_PAGE = 3 // H_OFFPAGE
/** What an item takes at least beside its bytes: its offset. */
const ITEM_BYTES = 2

export interface KeyAndValue {
  readonly key: Buffer
  readonly value: Buffer
}

/** Every pair, page by page. @throws Error, or RangeError where the file points outside itself */
export function* readBerkeleyHash(file: Buffer): Generator<KeyAndValue> {
  const database = new BerkeleyHash(file)
  for (let number = 1; number < database.pages; number++) yield* database.pairs(number)
}

class BerkeleyHash {
  readonly #file: Buffer
  readonly #littleEndian: boolean
  readonly #pageBytes: number
  readonly pages: number
  #itemBytes = 0

  constructor(file: Buffer) {
    this.#file = file
    this.#littleEndian = file.readUInt32LE(12) === HASH_MAGIC
    if (!this.#littleEndian && file.readUInt32BE(12) !== HASH_MAGIC)
      throw new Error("it is not a Berkeley DB hash file")
    if (file.readUInt8(25) !== HASH_META_PAGE || file.readUInt8(24) !== 0)
      throw new Error("it is a Berkeley DB file of another kind, or encrypted")
    this.#pageBytes = this.#u32(file, 20)
    if (this.#pageBytes < 512 || this.#pageBytes > 65_536) throw new Error("its page size is none of Berkeley DB's")
    this.pages = this.#u32(file, 32) + 1
    if (this.pages * this.#pageBytes > file.length) throw new Error(`it breaks off before page ${this.pages - 1}`)
  }

  *pairs(number: number): Generator<KeyAndValue> {
    const page = this.#page(number)
    if (!HASH_PAGES.has(page.readUInt8(25))) return
    const count = this.#u16(page, 20)
    if (count % 2 !== 0) throw new Error(`page ${number} has a key without a value`)
    for (let i = 0; i < count; i += 2) yield { key: this.#item(page, i), value: this.#item(page, i + 1) }
  }

  // Items fill the page from its end, so each one ends where the one before it starts.
  #item(page: Buffer, index: number): Buffer {
    const start = this.#u16(page, PAGE_HEADER_BYTES + 2 * index)
    const end = index === 0 ? this.#pageBytes : this.#u16(page, PAGE_HEADER_BYTES + 2 * (index - 1))
    const type = page.readUInt8(start)
    if (type === OFF_PAGE) return this.#overflow(this.#u32(page, start + 4), this.#u32(page, start + 8))
    if (type !== IN_PAGE || end <= start) throw new Error("a page has an item of an unknown kind")
    this.#count(end - start)
    return page.subarray(start + 1, end)
  }

  // Items may share their bytes in a file made to deceive.
  #count(bytes: number): void {
    this.#itemBytes += bytes + ITEM_BYTES
    if (this.#itemBytes > this.#file.length) throw new Error("its items are larger than the file")
  }

  #overflow(first: number, bytes: number): Buffer {
    this.#count(bytes)
    const parts: Buffer[] = []
    let missing = bytes
    for (let number = first; missing > 0; ) {
      const page = this.#page(number)
      const length = this.#u16(page, 22)
      // A page that brings nothing could go round in a circle.
      if (page.readUInt8(25) !== OVERFLOW_PAGE || length === 0 || length > missing)
        throw new Error(`page ${number} does not continue a value`)
      parts.push(page.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + length))
      missing -= length
      number = this.#u32(page, 16)
    }
    return Buffer.concat(parts)
  }

  #page(number: number): Buffer {
    if (number < 1 || number >= this.pages) throw new Error(`it names page ${number}, which it does not have`)
    return this.#file.subarray(number * this.#pageBytes, (number + 1) * this.#pageBytes)
  }

  #u16 = (bytes: Buffer, at: number) => (this.#littleEndian ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at))

  #u32 = (bytes: Buffer, at: number) => (this.#littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at))
}
