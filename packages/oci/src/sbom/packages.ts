import { decodeUtf8, type InventoryEntry } from "@envidence/core"
import { EffectiveRoot, type RootFile } from "../effective-root.js"
import type { LayerInventory } from "../layer.js"
import { parseApkDatabase } from "./apk.js"
import { parseCargoAuditable } from "./cargo.js"
import { parseCopyright } from "./copyright.js"
import {
  APK_INSTALLED,
  copyrightOf,
  DPKG_STATUS,
  folderOfInstalledLock,
  isDistInfoFolder,
  isEggInfoFolder,
  isInstalledPackageJson,
  isPackageJson,
  isPythonMetadata,
  isStatusFragment,
  OS_RELEASE,
  packageDatabaseBytes,
  RPM_DATABASES,
  unreadManager,
} from "./databases.js"
import { parseDpkgStatus } from "./dpkg.js"
import { parseGoBuildInfo } from "./go.js"
import { parseInstalledLock, parsePackageJson } from "./npm.js"
import { type Distribution, parseOsRelease } from "./os-release.js"
import { NameCount, type PackageFacts } from "./package-facts.js"
import { parsePythonMetadata } from "./python.js"
import { parseRpmDatabase } from "./rpm.js"

/** A package as found: where it is written down, and the layer that brought it. */
export interface FoundPackage {
  readonly path: string
  readonly layer: number
  readonly facts: PackageFacts
}

/** A package database that is there but was not read: what it lists is missing from the SBOM. */
export interface UnreadableDatabase {
  readonly path: string
  readonly layer: number
  readonly because: string
}

export interface ImagePackages {
  readonly packages: readonly FoundPackage[]
  readonly unreadable: readonly UnreadableDatabase[]
}

/** Packages in one SBOM: more make a document that nobody reads, and that may have been made to fill memory. */
export const MAX_PACKAGES = 100_000

type Parse = (content: Buffer, distribution: Distribution | undefined) => PackageFacts[]

const text =
  (parse: (text: string, distribution: Distribution | undefined) => PackageFacts[]): Parse =>
  (content, distribution) =>
    parse(decodeUtf8(content, "it"), distribution)

/** Databases in one file, which every installation rewrites. */
const SHARED_DATABASES: readonly (readonly [path: string, parse: Parse])[] = [
  [DPKG_STATUS, text(parseDpkgStatus)],
  ...APK_INSTALLED.map(path => [path, text(parseApkDatabase)] as const),
  ...RPM_DATABASES.map(path => [path, parseRpmDatabase] as const),
]

/** Finds what is installed in the root file system that the layers make. @throws EvidenceError limit-exceeded */
export function findPackages(layers: readonly LayerInventory[]): ImagePackages {
  const search = new PackageSearch(layers)
  const root = new EffectiveRoot()
  for (const layer of layers) {
    root.apply(layer.entries)
    search.noteSharedDatabases(root)
  }
  return search.finish(root)
}

class PackageSearch {
  readonly #layers: readonly LayerInventory[]
  /** Each shared database as each layer left it. */
  readonly #history = SHARED_DATABASES.map((): (RootFile | undefined)[] => [])
  readonly #packages: FoundPackage[] = []
  readonly #unreadable: UnreadableDatabase[] = []
  /** Installed Python distributions, and those of them whose metadata is there. */
  readonly #distInfos = new Map<string, RootFile>()
  readonly #described = new Set<string>()
  /** Hashes of npm's tarballs, by the folder of the package. */
  readonly #tarballs = new Map<string, PackageFacts["hashes"]>()
  readonly #names = new Map<PackageFacts["type"], NameCount>()
  readonly #namesRefused = new Set<PackageFacts["type"]>()
  #distribution: Distribution | undefined

  constructor(layers: readonly LayerInventory[]) {
    this.#layers = layers
  }

  noteSharedDatabases(root: EffectiveRoot): void {
    for (const [i, [path]] of SHARED_DATABASES.entries()) this.#history[i]?.push(root.find(path))
  }

  finish(root: EffectiveRoot): ImagePackages {
    this.#distribution = this.#readDistribution(root)
    this.#readSharedDatabases(root)
    for (const file of root.walk()) this.#readFile(root, file)
    for (const [path, file] of this.#distInfos)
      if (!this.#described.has(path))
        this.#refuse({ ...file, path }, `it has no ${isDistInfoFolder(path) ? "METADATA" : "PKG-INFO"}`)
    return { packages: this.#packages.map(found => this.#hashed(found)), unreadable: this.#unreadable }
  }

  #readSharedDatabases(root: EffectiveRoot): void {
    // One may be found by two paths, where a folder is a link to another.
    const read = new Set<InventoryEntry>()
    for (const [i, [, parse]] of SHARED_DATABASES.entries()) {
      const history = this.#history[i] ?? []
      const final = history.at(-1)
      if (final === undefined || read.has(final.entry)) continue
      read.add(final.entry)
      this.#refuseJournal(root, final)
      this.#readShared(root, final, parse, history)
    }
  }

  #readShared(root: EffectiveRoot, final: RootFile, parse: Parse, files: readonly (RootFile | undefined)[]): void {
    const packages = this.#parse(final, parse)
    if (packages === undefined) return
    const history = files.map(file => this.#identities(file, final, packages, parse))
    this.#add(
      final,
      packages.map(facts => ({
        facts: this.#licensed(root, facts),
        path: final.path,
        layer: broughtBy(history, identity(facts)),
      })),
    )
  }

  // What SQLite has not merged yet is not in the file: a program stopped at a bad moment.
  #refuseJournal(root: EffectiveRoot, { path }: RootFile): void {
    const journal = root.find(`${path}-wal`)
    if (journal !== undefined && journal.entry.size > 0)
      this.#refuse(journal, "it has changes that the database beside it has not")
  }

  #licensed(root: EffectiveRoot, facts: PackageFacts): PackageFacts {
    if (facts.type !== "deb") return facts
    const copyright = root.find(copyrightOf(facts.name))
    if (copyright === undefined) return facts
    // Licences are extra: a package without a readable copyright file is described all the same.
    const { value } = tryParse(this.#content(copyright), content => parseCopyright(decodeUtf8(content, "it")))
    return { ...facts, licenses: value ?? [] }
  }

  readonly #identitiesOf = new Map<InventoryEntry, ReadonlySet<string>>()

  #identities(
    file: RootFile | undefined,
    final: RootFile,
    packages: readonly PackageFacts[],
    parse: Parse,
  ): ReadonlySet<string> {
    if (file === undefined) return new Set()
    const earlier = this.#identitiesOf.get(file.entry)
    if (earlier !== undefined) return earlier
    // An older database that cannot be read only costs attribution: its packages count as the next layer's.
    const listed =
      file.entry === final.entry
        ? packages
        : (tryParse(this.#content(file), bytes => parse(bytes, undefined)).value ?? [])
    const identities = new Set(listed.map(identity))
    this.#identitiesOf.set(file.entry, identities)
    return identities
  }

  #readFile(root: EffectiveRoot, file: RootFile): void {
    const manager = unreadManager(file.path)
    if (manager !== undefined) this.#refuse(file, `this version does not read ${manager} databases`)
    this.#noteDistInfo(file)
    if (file.entry.type === "directory") return
    const lockOf = folderOfInstalledLock(file.path)
    if (lockOf !== undefined) this.#noteTarballs(file, lockOf)
    if (isStatusFragment(file.path)) this.#readStatusFragment(root, file)
    else if (isPythonMetadata(file.path)) this.#readPython(file)
    else if (isPackageJson(file.path)) this.#readPackageJson(file)
    else this.#readProgram(file)
  }

  #readStatusFragment(root: EffectiveRoot, file: RootFile): void {
    const packages = this.#parse(file, text(parseDpkgStatus)) ?? []
    this.#add(
      file,
      packages.map(facts => ({ facts: this.#licensed(root, facts), path: file.path, layer: file.layer })),
    )
  }

  #readPython(file: RootFile): void {
    this.#described.add(parentOf(file.path))
    this.#addAll(
      file,
      this.#parse(file, content => [parsePythonMetadata(decodeUtf8(content, "it"))]),
    )
  }

  #readPackageJson(file: RootFile): void {
    const parse: Parse = content => [parsePackageJson(decodeUtf8(content, "it"))]
    if (isInstalledPackageJson(file.path)) this.#addAll(file, this.#parse(file, parse))
    // Elsewhere one that names no package is none.
    else this.#addAll(file, tryParse(this.#content(file), content => parse(content, undefined)).value)
  }

  // Hashes are extra: without a readable lock file, packages are described all the same.
  #noteTarballs(file: RootFile, folder: string): void {
    const { value } = tryParse(this.#content(file), content => parseInstalledLock(decodeUtf8(content, "it")))
    for (const [below, hashes] of value ?? []) this.#tarballs.set(`${folder}${below}`, hashes)
  }

  #hashed(found: FoundPackage): FoundPackage {
    const hashes = found.facts.type === "npm" ? this.#tarballs.get(parentOf(found.path)) : undefined
    return hashes === undefined || hashes.length === 0 ? found : { ...found, facts: { ...found.facts, hashes } }
  }

  #readProgram(file: RootFile): void {
    const embedded = this.#layers[file.contentLayer]?.embedded.get(file.contentIndex)
    if (embedded === undefined) return
    const { goBuildInfo, cargoAuditable, because } = embedded
    if (because !== undefined) this.#refuse(file, because)
    if (goBuildInfo !== undefined) this.#addAll(file, this.#parseEmbedded(file, goBuildInfo, parseGoBuildInfo))
    if (cargoAuditable !== undefined) this.#addAll(file, this.#parseEmbedded(file, cargoAuditable, parseCargoAuditable))
  }

  #parseEmbedded(file: RootFile, bytes: Buffer, parse: (bytes: Buffer) => PackageFacts[]): PackageFacts[] | undefined {
    const { value, because } = tryParse(bytes, parse)
    if (because !== undefined) this.#refuse(file, because)
    return value
  }

  #addAll(file: RootFile, packages: readonly PackageFacts[] | undefined): void {
    this.#add(
      file,
      (packages ?? []).map(facts => ({ facts, path: file.path, layer: file.layer })),
    )
  }

  #add(file: RootFile, packages: readonly FoundPackage[]): void {
    if (this.#packages.length + packages.length > MAX_PACKAGES) {
      this.#refuse(file, `with it the image would have more than ${MAX_PACKAGES} packages`)
      return
    }
    for (const found of packages) {
      this.#packages.push(this.#countNames(file, found))
    }
  }

  // A package without its edges is better than none, as long as it is told.
  #countNames(file: RootFile, found: FoundPackage): FoundPackage {
    const counts = this.#names.get(found.facts.type) ?? new NameCount()
    this.#names.set(found.facts.type, counts)
    const { because } = tryParse(NOTHING, () => counts.add(found.facts))
    if (because === undefined) return found
    if (!this.#namesRefused.has(found.facts.type)) this.#refuse(file, because)
    this.#namesRefused.add(found.facts.type)
    return { ...found, facts: { ...found.facts, requires: [], provides: [] } }
  }

  #noteDistInfo(file: RootFile): void {
    // Archives need not declare the folder itself.
    const folder = file.entry.type === "directory" ? file.path : parentOf(file.path)
    const wanted = isDistInfoFolder(folder) || isEggInfoFolder(folder)
    if (wanted && !this.#distInfos.has(folder)) this.#distInfos.set(folder, file)
  }

  #readDistribution(root: EffectiveRoot): Distribution | undefined {
    for (const path of OS_RELEASE) {
      const file = root.find(path)
      if (file === undefined) continue
      const { value } = tryParse(this.#content(file), content => parseOsRelease(decodeUtf8(content, "it")))
      if (value !== undefined) return value
    }
    return undefined
  }

  #parse(file: RootFile, parse: Parse): PackageFacts[] | undefined {
    const { value, because } = tryParse(this.#content(file), content => parse(content, this.#distribution))
    if (because !== undefined) this.#refuse(file, because)
    return value
  }

  #refuse({ path, layer }: Pick<RootFile, "path" | "layer">, because: string): void {
    this.#unreadable.push({ path: path.toWellFormed(), layer, because: because.toWellFormed().slice(0, 512) })
  }

  #content({ path, entry, contentLayer, contentIndex }: RootFile): Buffer | string {
    if (entry.type !== "file" && entry.type !== "hardlink") return `it is a ${entry.type}`
    const content = this.#layers[contentLayer]?.wanted.get(contentIndex)
    if (content === null) return `it is larger than the ${packageDatabaseBytes(path)} bytes that are read`
    return content ?? "its content lies at a path where package databases are not looked for"
  }
}

const NOTHING = Buffer.alloc(0)

interface Parsed<T> {
  readonly value?: T
  readonly because?: string
}

function tryParse<T>(content: Buffer | string, parse: (content: Buffer) => T): Parsed<T> {
  if (typeof content === "string") return { because: content }
  try {
    return { value: parse(content) }
  } catch (error) {
    if (error instanceof RangeError) return { because: "it breaks off, or points outside itself" }
    return { because: (error as Error).message }
  }
}

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")))

const identity = ({ name, version, purl }: PackageFacts) => `${name}\0${version}\0${purl.qualifiers?.arch}`

/** The layer since which the database lists the package without a break. */
function broughtBy(history: readonly ReadonlySet<string>[], identity: string): number {
  let layer = history.length - 1
  while (layer > 0 && history[layer - 1]?.has(identity) === true) layer--
  return layer
}
