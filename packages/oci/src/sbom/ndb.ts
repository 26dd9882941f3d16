// rpm's own database format (lib/backend/ndb/rpmpkg.c), little endian: a header, slots of 16 bytes that say where each
// package lies, then the packages in blocks of 16 bytes.

const MAGIC = 0x50_6d_70_52 // "RpmP"
const SLOT_MAGIC = 0x74_6f_6c_53 // "Slot"
const BLOB_MAGIC = 0x53_62_6c_42 // "BlbS"
const HEADER_BYTES = 32
const SLOT_BYTES = 16
const PAGE_BYTES = 4096
const BLOCK_BYTES = 16
const BLOB_HEADER_BYTES = 16

/** The headers of the packages. @throws Error, or RangeError where the database points outside itself */
export function* readNdb(file: Buffer): Generator<Buffer> {
  if (file.readUInt32LE(0) !== MAGIC) throw new Error("it is not an rpm ndb database")
  if (file.readUInt32LE(4) !== 0) throw new Error("it is an rpm ndb database of an unknown version")
  const end = file.readUInt32LE(12) * PAGE_BYTES
  if (end > file.length) throw new Error("it breaks off in its list of packages")
  for (let slot = HEADER_BYTES; slot < end; slot += SLOT_BYTES) {
    if (file.readUInt32LE(slot) !== SLOT_MAGIC) throw new Error("its list of packages is broken")
    const block = file.readUInt32LE(slot + 8)
    if (block !== 0) yield readBlob(file, block * BLOCK_BYTES, file.readUInt32LE(slot + 4))
  }
}

function readBlob(file: Buffer, at: number, index: number): Buffer {
  const length = file.readUInt32LE(at + 12)
  const start = at + BLOB_HEADER_BYTES
  if (file.readUInt32LE(at) !== BLOB_MAGIC || file.readUInt32LE(at + 4) !== index)
    throw new Error(`package ${index} is not where the list says`)
  if (start + length > file.length) throw new Error(`package ${index} breaks off`)
  return file.subarray(start, start + length)
}
