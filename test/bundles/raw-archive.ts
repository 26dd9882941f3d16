// Archives as no packer of ours writes them. Entries and the gzip frame are put together from parts, each of which a
// test may falsify.
import { crc32, deflateRawSync } from "node:zlib"
import type { ArchiveMember } from "@envidence/core"
import { endOfArchive, entry } from "../../packages/oci/test/tar-writer.ts"

/** The tar archive of these members, as our packer writes it. */
export const rawTar = (members: readonly ArchiveMember[]): Buffer =>
  Buffer.concat([...members.map(rawEntry), endOfArchive])

export const rawEntry = ({ path, bytes }: ArchiveMember): Buffer => entry(path, { content: Buffer.from(bytes) })

export interface GzipOptions {
  /** The ten bytes of RFC 1952 section 2.3; ours by default. */
  readonly header?: Buffer
  readonly crc?: number
  readonly size?: number
  readonly level?: number
}

export const gzipHeader = (): Buffer => Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])

export function rawGzip(bytes: Buffer, options: GzipOptions = {}): Buffer {
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(options.crc ?? crc32(bytes), 0)
  trailer.writeUInt32LE(options.size ?? bytes.length % 2 ** 32, 4)
  return Buffer.concat([options.header ?? gzipHeader(), deflateRawSync(bytes, { level: options.level ?? 6 }), trailer])
}
