// A reader of one table in a SQLite 3 database (fileformat2), from bytes. Node's own SQLite would need the file on disk,
// prints a warning on Node 22, and is a great deal of C for a stranger's bytes to work on.

const MAGIC = "SQLite format 3\0"
const FILE_HEADER_BYTES = 100
const TABLE_INTERIOR = 5
const TABLE_LEAF = 13
const MAX_COLUMNS = 64
/** What a row takes at least beside its payload: a pointer, a length and a row id. */
const CELL_BYTES = 4

/** One row's values as they are stored: a blob or text as its bytes, a number, or null. */
export type SqliteRow = readonly (Buffer | number | null)[]

/**
 * The rows of a table that keeps them by row id.
 *
 * @throws Error, or RangeError where the database points outside itself
 */
export function* readSqliteTable(file: Buffer, table: string): Generator<SqliteRow> {
  const database = new SqliteDatabase(file)
  for (const [type, name, , root] of database.rows(1))
    if (textOf(type) === "table" && textOf(name) === table && typeof root === "number") {
      yield* database.rows(root)
      return
    }
  throw new Error(`it has no table ${table}`)
}

const textOf = (value: Buffer | number | null | undefined) => (Buffer.isBuffer(value) ? value.toString("utf8") : null)

class SqliteDatabase {
  readonly #file: Buffer
  readonly #pageBytes: number
  /** Bytes of a page that hold content: some are reserved for extensions. */
  readonly #usable: number
  readonly #pages: number
  #rowBytes = 0

  constructor(file: Buffer) {
    if (file.toString("latin1", 0, MAGIC.length) !== MAGIC) throw new Error("it is not a SQLite database")
    const size = file.readUInt16BE(16)
    this.#pageBytes = size === 1 ? 65_536 : size
    if (this.#pageBytes < 512 || (this.#pageBytes & (this.#pageBytes - 1)) !== 0)
      throw new Error("its page size is none of SQLite's")
    this.#usable = this.#pageBytes - file.readUInt8(20)
    if (this.#usable < 480) throw new Error("its pages have no room")
    if (file.readUInt32BE(56) > 1) throw new Error("its text is not UTF-8")
    this.#file = file
    this.#pages = Math.floor(file.length / this.#pageBytes)
  }

  /** Depth first; a page that is met twice would be a circle. */
  *rows(root: number): Generator<SqliteRow> {
    const seen = new Set<number>()
    const open = [root]
    for (let number = open.pop(); number !== undefined; number = open.pop()) {
      if (seen.has(number)) throw new Error("its pages form a circle")
      seen.add(number)
      const page = this.#page(number)
      const header = number === 1 ? FILE_HEADER_BYTES : 0
      const type = page.readUInt8(header)
      const cells = page.readUInt16BE(header + 3)
      if (type === TABLE_LEAF) yield* this.#leaf(page, header + 8, cells)
      else if (type === TABLE_INTERIOR) open.push(...children(page, header, cells).reverse())
      else throw new Error(`page ${number} is not a table's`)
    }
  }

  #page(number: number): Buffer {
    if (number < 1 || number > this.#pages) throw new Error(`it breaks off before page ${number}`)
    return this.#file.subarray((number - 1) * this.#pageBytes, number * this.#pageBytes)
  }

  *#leaf(page: Buffer, pointers: number, cells: number): Generator<SqliteRow> {
    for (let i = 0; i < cells; i++) {
      const payload = readVarint(page, page.readUInt16BE(pointers + 2 * i))
      const rowId = readVarint(page, payload.end)
      yield parseRecord(this.#payload(page, rowId.end, payload.value))
    }
  }

  /** A payload that does not fit continues on a chain of pages ("Cell Payload Overflow Pages"). */
  #payload(page: Buffer, at: number, bytes: number): Buffer {
    // Rows may share their bytes in a file made to deceive, a hundred times a page.
    this.#rowBytes += bytes + CELL_BYTES
    if (this.#rowBytes > this.#file.length) throw new Error("its rows are larger than the file")
    if (bytes <= this.#usable - 35) return slice(page, at, bytes)
    const least = Math.floor(((this.#usable - 12) * 32) / 255) - 23
    const spilled = least + ((bytes - least) % (this.#usable - 4))
    const local = spilled <= this.#usable - 35 ? spilled : least
    const parts = [slice(page, at, local)]
    let missing = bytes - local
    // Each page brings bytes, so the row's length bounds the chain.
    for (let next = page.readUInt32BE(at + local); missing > 0; ) {
      const overflow = this.#page(next)
      const part = slice(overflow, 4, Math.min(missing, this.#usable - 4))
      parts.push(part)
      missing -= part.length
      next = overflow.readUInt32BE(0)
    }
    return Buffer.concat(parts, bytes)
  }
}

function children(page: Buffer, header: number, cells: number): number[] {
  const pointers = Array.from({ length: cells }, (_, i) => page.readUInt16BE(header + 12 + 2 * i))
  return [...pointers.map(pointer => page.readUInt32BE(pointer)), page.readUInt32BE(header + 8)]
}

function slice(bytes: Buffer, at: number, length: number): Buffer {
  if (at + length > bytes.length) throw new Error("a row reaches beyond its page")
  return bytes.subarray(at, at + length)
}

// Big endian, seven bits a byte; numbers beyond 2^53 lose their last bits, and lengths that large are refused.
function readVarint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } {
  let value = 0
  for (let i = 0; i < 8; i++) {
    const byte = bytes.readUInt8(at + i)
    value = value * 128 + (byte & 0x7f)
    if (byte < 0x80) return { value, end: at + i + 1 }
  }
  return { value: value * 256 + bytes.readUInt8(at + 8), end: at + 9 }
}

/** "Record Format": a header of types, then the values. */
function parseRecord(record: Buffer): SqliteRow {
  const header = readVarint(record, 0)
  if (header.value > record.length) throw new Error("a row's header is larger than the row")
  const row: (Buffer | number | null)[] = []
  let body = header.value
  for (let at = header.end; at < header.value; ) {
    if (row.length === MAX_COLUMNS) throw new Error("a row has too many columns")
    const type = readVarint(record, at)
    const { value, bytes } = readValue(record, body, type.value)
    row.push(value)
    body += bytes
    at = type.end
  }
  return row
}

const INTEGER_BYTES = [0, 1, 2, 3, 4, 6, 8] as const

function readValue(record: Buffer, at: number, type: number): { value: Buffer | number | null; bytes: number } {
  if (type >= 12) {
    const bytes = Math.floor((type - 12) / 2)
    return { value: slice(record, at, bytes), bytes }
  }
  if (type === 8 || type === 9) return { value: type - 8, bytes: 0 }
  if (type === 7) return { value: record.readDoubleBE(at), bytes: 8 }
  const bytes = INTEGER_BYTES[type]
  if (bytes === undefined) throw new Error("a row has a value of a reserved type")
  if (bytes === 0) return { value: null, bytes }
  return { value: bytes === 8 ? Number(record.readBigInt64BE(at)) : record.readIntBE(at, bytes), bytes }
}
