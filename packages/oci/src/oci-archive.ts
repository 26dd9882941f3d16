import type { Readable } from "node:stream"
import { type Descriptor, EvidenceError, hexOfDigest } from "@envidence/core"
import { type LayoutOptions, openLayout } from "./layout.js"
import { type BlobSource, demandDigest, type OpenedImage } from "./opened-image.js"
import { type FileInTar, TarFile } from "./tar-file.js"

/**
 * Opens a tar archive of an OCI layout. Nothing is unpacked: blobs are streamed from where they lie in it.
 *
 * @throws EvidenceError as `openOciLayout` does; limit-exceeded for an archive of too many entries
 */
export async function openOciArchive(path: string, options: LayoutOptions = {}): Promise<OpenedImage> {
  const archive = await TarFile.open(path)
  try {
    const read = async (name: string) => archive.read(archive.file(name))
    return await openLayout({ read, blobs: new ArchiveBlobs(archive) }, options)
  } catch (error) {
    await archive.close()
    throw error
  }
}

class ArchiveBlobs implements BlobSource {
  readonly #archive: TarFile

  constructor(archive: TarFile) {
    this.#archive = archive
  }

  async read(descriptor: Descriptor, what: string): Promise<Buffer> {
    const bytes = await this.#archive.read(this.#find(descriptor, what))
    demandDigest(bytes, descriptor, what)
    return bytes
  }

  async open(descriptor: Descriptor, what: string): Promise<Readable> {
    return this.#archive.stream(this.#find(descriptor, what))
  }

  async check(descriptor: Descriptor, what: string): Promise<void> {
    this.#find(descriptor, what)
  }

  close(): Promise<void> {
    return this.#archive.close()
  }

  #find({ digest, size }: Descriptor, what: string): FileInTar {
    const file = this.#archive.file(`blobs/sha256/${hexOfDigest(digest)}`)
    if (file.size === size) return file
    throw new EvidenceError(
      "malformed-image",
      `${what} (${digest}) has ${file.size} bytes, its descriptor says ${size}`,
    )
  }
}
