import { decodeUtf8, type InventoryEntry } from "@envidence/core"
import { EffectiveRoot, type RootFile } from "../effective-root.js"
import type { LayerInventory } from "../layer.js"
import { parseCopyright } from "./copyright.js"
import {
  copyrightOf,
  DPKG_STATUS,
  isDistInfoFolder,
  isPythonMetadata,
  isStatusFragment,
  OS_RELEASE,
  packageDatabaseBytes,
  unreadManager,
} from "./databases.js"
import { type DebianPackage, parseDpkgStatus } from "./dpkg.js"
import { type Distribution, parseOsRelease } from "./os-release.js"
import { type PythonDistribution, parsePythonMetadata } from "./python.js"

/** A package as found: where it is written down, and the layer that brought it. */
export type FoundPackage = { readonly path: string; readonly layer: number } & (
  | { readonly type: "deb"; readonly package: DebianPackage; readonly licenses: readonly string[] }
  | { readonly type: "pypi"; readonly package: PythonDistribution }
)

/** A package database that is there but was not read: what it lists is missing from the SBOM. */
export interface UnreadableDatabase {
  readonly path: string
  readonly layer: number
  readonly because: string
}

export interface ImagePackages {
  readonly packages: readonly FoundPackage[]
  readonly unreadable: readonly UnreadableDatabase[]
  readonly distribution: Distribution | undefined
}

/** Finds what is installed in the root file system that the layers make. @throws EvidenceError limit-exceeded */
export function findPackages(layers: readonly LayerInventory[]): ImagePackages {
  const search = new PackageSearch(layers)
  const root = new EffectiveRoot()
  for (const layer of layers) {
    root.apply(layer.entries)
    search.noteDpkgStatus(root.find(DPKG_STATUS))
  }
  return search.finish(root)
}

class PackageSearch {
  readonly #layers: readonly LayerInventory[]
  /** dpkg's database as each layer left it: it is one file, and every installation rewrites it. */
  readonly #statuses: (RootFile | undefined)[] = []
  readonly #packages: FoundPackage[] = []
  readonly #unreadable: UnreadableDatabase[] = []
  /** Installed Python distributions, and those of them whose metadata is there. */
  readonly #distInfos = new Map<string, RootFile>()
  readonly #described = new Set<string>()

  constructor(layers: readonly LayerInventory[]) {
    this.#layers = layers
  }

  noteDpkgStatus(status: RootFile | undefined): void {
    this.#statuses.push(status)
  }

  finish(root: EffectiveRoot): ImagePackages {
    this.#readDpkgStatus(root)
    for (const file of root.walk()) this.#readFile(root, file)
    for (const [path, file] of this.#distInfos)
      if (!this.#described.has(path)) this.#refuse({ ...file, path }, "it has no METADATA")
    return { packages: this.#packages, unreadable: this.#unreadable, distribution: this.#distribution(root) }
  }

  #readDpkgStatus(root: EffectiveRoot): void {
    const final = this.#statuses.at(-1)
    if (final === undefined) return
    const packages = this.#parse(final, parseDpkgStatus)
    const history = this.#statuses.map(status => this.#identities(status))
    for (const found of packages ?? [])
      this.#packages.push({
        ...this.#debian(root, found),
        path: final.path,
        layer: broughtBy(history, identity(found)),
      })
  }

  #debian(root: EffectiveRoot, found: DebianPackage) {
    const copyright = root.find(copyrightOf(found.name))
    // Licences are extra: a package without a readable copyright file is described all the same.
    const { value } = copyright === undefined ? {} : tryParse(this.#content(copyright), parseCopyright)
    return { type: "deb", package: found, licenses: value ?? [] } as const
  }

  readonly #identitiesOf = new Map<InventoryEntry, ReadonlySet<string>>()

  #identities(status: RootFile | undefined): ReadonlySet<string> {
    if (status === undefined) return new Set()
    const earlier = this.#identitiesOf.get(status.entry)
    if (earlier !== undefined) return earlier
    // An older database that cannot be read only costs attribution: its packages count as the next layer's.
    const identities = new Set((tryParse(this.#content(status), parseDpkgStatus).value ?? []).map(identity))
    this.#identitiesOf.set(status.entry, identities)
    return identities
  }

  #readFile(root: EffectiveRoot, file: RootFile): void {
    const manager = unreadManager(file.path)
    if (manager !== undefined) this.#refuse(file, `this version does not read ${manager} databases`)
    this.#noteDistInfo(file)
    if (file.entry.type === "directory") return
    if (isStatusFragment(file.path)) {
      for (const found of this.#parse(file, parseDpkgStatus) ?? [])
        this.#packages.push({ ...this.#debian(root, found), path: file.path, layer: file.layer })
    } else if (isPythonMetadata(file.path)) {
      this.#described.add(parentOf(file.path))
      const found = this.#parse(file, parsePythonMetadata)
      if (found !== undefined) this.#packages.push({ type: "pypi", package: found, path: file.path, layer: file.layer })
    }
  }

  #noteDistInfo(file: RootFile): void {
    // Archives need not declare the folder itself.
    const folder = file.entry.type === "directory" ? file.path : parentOf(file.path)
    if (isDistInfoFolder(folder) && !this.#distInfos.has(folder)) this.#distInfos.set(folder, file)
  }

  #distribution(root: EffectiveRoot): Distribution | undefined {
    for (const path of OS_RELEASE) {
      const file = root.find(path)
      const { value } = file === undefined ? {} : tryParse(this.#content(file), parseOsRelease)
      if (value !== undefined) return value
    }
    return undefined
  }

  #parse<T>(file: RootFile, parse: (text: string) => T): T | undefined {
    const { value, because } = tryParse(this.#content(file), parse)
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

interface Parsed<T> {
  readonly value?: T
  readonly because?: string
}

function tryParse<T>(content: Buffer | string, parse: (text: string) => T): Parsed<T> {
  if (typeof content === "string") return { because: content }
  try {
    return { value: parse(decodeUtf8(content, "it")) }
  } catch (error) {
    return { because: (error as Error).message }
  }
}

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")))

const identity = ({ name, version, architecture }: DebianPackage) => `${name}\0${version}\0${architecture}`

/** The layer since which the database lists the package without a break. */
function broughtBy(history: readonly ReadonlySet<string>[], identity: string): number {
  let layer = history.length - 1
  while (layer > 0 && history[layer - 1]?.has(identity) === true) layer--
  return layer
}
