import type { InventoryEntry } from "./view.js"

export type ContentKind = NonNullable<InventoryEntry["content"]>

/** What a file is to someone who starts an image: an archive is unpacked or read whole before any of it is of use. */
export type LayoutKind =
  | "archive"
  | "compressed"
  | "package"
  | "disk-image"
  | "model-weights"
  | "data"
  | "program"
  | "other"

/** By magic number, never by name. A kind that is added to the inventory does not compile until it stands here. */
export const layoutKind: Readonly<Record<ContentKind, LayoutKind>> = {
  zip: "archive",
  "7z": "archive",
  rar: "archive",
  cab: "archive",
  xar: "archive",
  tar: "archive",
  cpio: "archive",
  gzip: "compressed",
  zstd: "compressed",
  xz: "compressed",
  bzip2: "compressed",
  lz4: "compressed",
  lzip: "compressed",
  compress: "compressed",
  deb: "package",
  rpm: "package",
  squashfs: "disk-image",
  cramfs: "disk-image",
  erofs: "disk-image",
  ext: "disk-image",
  iso9660: "disk-image",
  "disk-image": "disk-image",
  gguf: "model-weights",
  safetensors: "model-weights",
  hdf5: "model-weights",
  parquet: "data",
  sqlite: "data",
  "git-pack": "other",
  ar: "other",
  elf: "program",
  "elf-object": "program",
  "python-bytecode": "other",
  script: "other",
  pem: "other",
  "private-key": "other",
  "key-store": "other",
  credentials: "other",
  text: "other",
  binary: "other",
  empty: "other",
}

const ARCHIVES: ReadonlySet<LayoutKind> = new Set(["archive", "compressed", "package", "disk-image"])

/** Whether a file's content must be unpacked, or mounted, before it is of use. */
export const isArchive = (content: ContentKind): boolean => ARCHIVES.has(layoutKind[content])
