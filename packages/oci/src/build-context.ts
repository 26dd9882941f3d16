import { isUtf8 } from "node:buffer"
import { createHash } from "node:crypto"
import { constants } from "node:fs"
import {
  type FileHandle,
  lstat,
  lutimes,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  stat,
  symlink,
  utimes,
} from "node:fs/promises"
import { join, sep } from "node:path"
import { decodeUtf8, EvidenceError, limits, type SubmissionFile } from "@envidence/core"
import { DockerIgnore } from "./dockerignore.js"

/** Bounds on a submission's folder; bytes unless the name says otherwise. */
export interface BuildContextLimits {
  readonly files: number
  readonly totalBytes: number
  readonly depth: number
  readonly pathBytes: number
}

export const buildContextLimits: BuildContextLimits = {
  files: 100_000,
  totalBytes: 10 * 1024 ** 3,
  depth: 64,
  pathBytes: 4096,
}

export interface BuildContextOptions {
  /**
   * Path of the Dockerfile in the folder: in the context even where .dockerignore names it; null for none. Staging
   * demands that it is there; reading does not, since another checkout may have none.
   */
  readonly dockerfile: string | null
  readonly limits?: Partial<BuildContextLimits>
  readonly signal?: AbortSignal
}

export interface StagingOptions extends BuildContextOptions {
  /** Seconds since 1970, for every file, link and folder of the copy; 0 by default. */
  readonly mtime?: number
}

/** What the engine builds from, file by file; `submissionDigest` is over these rows. */
export type BuildContext = readonly SubmissionFile[]

/**
 * Lists and hashes the build context in `directory`: regular files and symbolic links, less what .dockerignore leaves
 * out, less `.git` at any depth and empty folders. Links are kept as links and never followed. Rows are sorted bytewise.
 *
 * @throws EvidenceError input-not-found where there is no such folder; invalid-submission for what a context may not
 * hold; limit-exceeded; input-unreadable
 */
export async function readBuildContext(directory: string, options: BuildContextOptions): Promise<BuildContext> {
  const walk = await walkContext(directory, options)
  return await walk.visitAll((source, kind) => (kind === "symlink" ? hashLink(source) : hashFile(source)))
}

/**
 * Copies the build context into `destination`, a new or empty folder, and hashes what it copies, so that what is built
 * is what the rows say. The copy has modes 0644 and 0755 and one time, since two clones differ in both.
 *
 * @throws EvidenceError as `readBuildContext`, and usage where `destination` is not empty or lies in `directory`
 */
export async function stageBuildContext(
  directory: string,
  destination: string,
  options: StagingOptions,
): Promise<BuildContext> {
  const stage = await openStage(directory, destination, options.mtime ?? 0)
  const walk = await walkContext(directory, options)
  walk.demandDockerfile()
  const rows = await walk.visitAll((source, kind, path) => stage.add(source, kind, path))
  await stage.finish()
  return rows
}

type Kind = SubmissionFile["kind"]
type Hashed = Pick<SubmissionFile, "size" | "sha256">
type Visit = (source: string, kind: Kind, path: string) => Promise<Hashed>

const invalid = (why: string, hint?: string) =>
  new EvidenceError("invalid-submission", why, hint === undefined ? {} : { hint })

const quote = (path: string) => JSON.stringify(path.slice(0, 256))

async function walkContext(directory: string, options: BuildContextOptions): Promise<ContextWalk> {
  const found = await stat(directory).catch(cause => {
    if (cause.code === "ENOENT") throw new EvidenceError("input-not-found", `no such folder: ${directory}`, { cause })
    throw unreadable(directory, cause)
  })
  if (!found.isDirectory()) throw new EvidenceError("input-not-found", `${directory} is not a folder`)
  const ignore = new DockerIgnore(await readIgnoreFile(join(directory, ".dockerignore")))
  const walk = new ContextWalk(directory, ignore, options)
  await walk.listFolder("", 1)
  return walk
}

async function readIgnoreFile(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return ""
  if (!found.isFile()) throw invalid(".dockerignore is not a regular file")
  if (found.size > limits.sourceTextBytes) throw invalid(`.dockerignore is larger than ${limits.sourceTextBytes} bytes`)
  const handle = await openFile(path)
  try {
    return decodeUtf8(await readWhole(handle, found.size), ".dockerignore")
  } finally {
    await handle.close()
  }
}

interface Found {
  readonly path: string
  readonly kind: Kind
  /** Sorts as the path's UTF-8 does. */
  readonly order: Buffer
}

/** What the tools read themselves is always hashed. */
const ALWAYS_INCLUDED = [".dockerignore", "openenv.yaml", "envidence.yaml"]

class ContextWalk {
  readonly #directory: string
  readonly #ignore: DockerIgnore
  readonly #limits: BuildContextLimits
  readonly #dockerfile: string | null
  readonly #always: ReadonlySet<string>
  readonly #signal: AbortSignal | undefined
  readonly #found: Found[] = []
  /** Everything looked at, ignored or not. */
  #seen = 0

  constructor(directory: string, ignore: DockerIgnore, options: BuildContextOptions) {
    this.#directory = directory
    this.#ignore = ignore
    this.#limits = { ...buildContextLimits, ...options.limits }
    this.#dockerfile = options.dockerfile
    this.#always = new Set([...ALWAYS_INCLUDED, ...(options.dockerfile ? [options.dockerfile] : [])])
    this.#signal = options.signal
  }

  async listFolder(folder: string, depth: number): Promise<void> {
    if (depth > this.#limits.depth) throw exceeded(`${quote(folder)} lies deeper than ${this.#limits.depth} folders`)
    this.#checkSignal()
    for (const name of await readNames(join(this.#directory, folder))) {
      if (name === ".git") continue
      const path = folder === "" ? name : `${folder}/${name}`
      if (++this.#seen > this.#limits.files * 10) throw exceeded(`more than ${this.#limits.files * 10} entries`)
      await this.#look(path, depth)
    }
  }

  async #look(path: string, depth: number): Promise<void> {
    const found = await lstat(join(this.#directory, path)).catch(cause => {
      throw unreadable(path, cause)
    })
    const ignored = this.#ignore.ignores(path)
    if (found.isDirectory()) {
      // Docker walks into an ignored folder only where an exception may lead back.
      if (!ignored || this.#ignore.hasExceptions || this.#leadsToAlways(path)) await this.listFolder(path, depth + 1)
    } else if (!ignored || this.#always.has(path)) {
      const executable = (found.mode & constants.S_IXUSR) !== 0
      if (found.isSymbolicLink()) this.#add(path, "symlink")
      else if (found.isFile()) this.#add(path, executable ? "executable" : "file")
      else throw invalid(`${quote(path)} is neither a file nor a folder nor a symbolic link`, "Remove or ignore it.")
    }
  }

  #checkSignal(): void {
    if (this.#signal?.aborted) throw new EvidenceError("interrupted", `interrupted while reading ${this.#directory}`)
  }

  #leadsToAlways(folder: string): boolean {
    return [...this.#always].some(path => path.startsWith(`${folder}/`))
  }

  #add(path: string, kind: Kind): void {
    const order = Buffer.from(path)
    const { files, pathBytes } = this.#limits
    if (order.length > pathBytes) throw exceeded(`a path of ${order.length} bytes; at most ${pathBytes} are read`)
    // What the tools read themselves must not lead out of the submission.
    if (kind === "symlink" && this.#always.has(path)) throw invalid(`${quote(path)} is a symbolic link`)
    if (this.#found.length === files) throw exceeded(`more than ${files} files`)
    this.#found.push({ path, kind, order })
  }

  demandDockerfile(): void {
    const dockerfile = this.#dockerfile
    if (dockerfile !== null && !this.#found.some(({ path }) => path === dockerfile))
      throw invalid(`no Dockerfile at ${quote(dockerfile)}`)
  }

  async visitAll(visit: Visit): Promise<BuildContext> {
    const rows: SubmissionFile[] = []
    let total = 0
    for (const { path, kind } of this.#found.sort((a, b) => Buffer.compare(a.order, b.order))) {
      this.#checkSignal()
      const { size, sha256 } = await visit(join(this.#directory, path), kind, path)
      total += size
      if (total > this.#limits.totalBytes) throw exceeded(`more than ${this.#limits.totalBytes} bytes`)
      rows.push({ path, kind, size, sha256 })
    }
    return rows
  }
}

const exceeded = (why: string) =>
  new EvidenceError("limit-exceeded", `the submission: ${why}`, {
    hint: "Leave out by .dockerignore what a build does not need.",
  })

const unreadable = (path: string, cause: Error) =>
  new EvidenceError("input-unreadable", `cannot read ${path}: ${cause.message}`, { cause })

async function readNames(folder: string): Promise<string[]> {
  const names = await readdir(folder, { encoding: "buffer" }).catch(cause => {
    throw unreadable(folder, cause)
  })
  return names.map(name => {
    if (!isUtf8(name))
      throw invalid(`${quote(folder)} holds a name that is not UTF-8: ${quote(name.toString("latin1"))}`)
    return name.toString()
  })
}

const BUFFER_BYTES = 1_048_576

async function openFile(path: string): Promise<FileHandle> {
  // O_NOFOLLOW and O_NONBLOCK: it was a regular file a moment ago, and may be a link or a pipe by now.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(path, flags).catch(cause => {
    throw unreadable(path, cause)
  })
  if ((await handle.stat()).isFile()) return handle
  await handle.close()
  throw new EvidenceError("input-unreadable", `${path} changed while it was read`)
}

async function readWhole(handle: FileHandle, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  const { bytesRead } = await handle.read(bytes, 0, size, 0)
  return bytes.subarray(0, bytesRead)
}

async function hashFile(path: string, write?: (piece: Buffer) => Promise<void>): Promise<Hashed> {
  const source = await openFile(path)
  try {
    const hash = createHash("sha256")
    const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, (await source.stat()).size + 1))
    let size = 0
    for (;;) {
      const { bytesRead } = await source.read(buffer, 0, buffer.length, null)
      if (bytesRead === 0) return { size, sha256: hash.digest("hex") }
      const piece = buffer.subarray(0, bytesRead)
      hash.update(piece)
      await write?.(piece)
      size += bytesRead
    }
  } finally {
    await source.close()
  }
}

async function hashLink(path: string): Promise<Hashed & { readonly target: Buffer }> {
  const target = await readlink(path, { encoding: "buffer" }).catch(cause => {
    throw unreadable(path, cause)
  })
  return { size: target.length, sha256: createHash("sha256").update(target).digest("hex"), target }
}

const FILE_MODE = 0o644
const EXECUTABLE_MODE = 0o755

async function openStage(directory: string, destination: string, mtime: number): Promise<Stage> {
  await mkdir(destination, { recursive: true, mode: EXECUTABLE_MODE })
  const [from, to] = await Promise.all([realpath(directory).catch(() => directory), realpath(destination)])
  if (to === from || to.startsWith(from + sep))
    throw new EvidenceError("usage", `the copy in ${destination} would lie in the submission itself`)
  if ((await readdir(destination)).length > 0) throw new EvidenceError("usage", `${destination} is not empty`)
  return new Stage(destination, mtime)
}

class Stage {
  readonly #destination: string
  readonly #mtime: number
  readonly #folders = new Set<string>()

  constructor(destination: string, mtime: number) {
    this.#destination = destination
    this.#mtime = mtime
  }

  async add(source: string, kind: Kind, path: string): Promise<Hashed> {
    await this.#makeFolders(path)
    const copy = join(this.#destination, path)
    return kind === "symlink" ? await this.#addLink(source, copy) : await this.#addFile(source, copy, kind)
  }

  async #addFile(source: string, copy: string, kind: Kind): Promise<Hashed> {
    const target = await open(copy, "wx", FILE_MODE)
    try {
      const hashed = await hashFile(source, async piece => await target.writeFile(piece))
      await target.chmod(kind === "executable" ? EXECUTABLE_MODE : FILE_MODE)
      await target.utimes(this.#mtime, this.#mtime)
      return hashed
    } finally {
      await target.close()
    }
  }

  async #addLink(source: string, copy: string): Promise<Hashed> {
    const { target, size, sha256 } = await hashLink(source)
    await symlink(target, copy)
    await lutimes(copy, this.#mtime, this.#mtime)
    return { size, sha256 }
  }

  async #makeFolders(path: string): Promise<void> {
    for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) {
      const folder = path.slice(0, slash)
      if (this.#folders.has(folder)) continue
      await mkdir(join(this.#destination, folder), { mode: EXECUTABLE_MODE })
      this.#folders.add(folder)
    }
  }

  /** Last, since adding to a folder changes its time. */
  async finish(): Promise<void> {
    for (const folder of [...this.#folders, ""]) {
      const handle = await open(join(this.#destination, folder), constants.O_RDONLY | constants.O_DIRECTORY)
      try {
        // Whatever the process's umask is.
        await handle.chmod(EXECUTABLE_MODE)
      } finally {
        await handle.close()
      }
      await utimes(join(this.#destination, folder), this.#mtime, this.#mtime)
    }
  }
}
