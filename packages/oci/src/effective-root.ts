import { EvidenceError, type InventoryEntry, normalizePath, pathInRoot } from "@envidence/core"

/** A file of the root file system that all layers together make. */
export interface RootFile {
  readonly path: string
  readonly entry: InventoryEntry
  /** The layer that put it there, and its entry's index in that layer. */
  readonly layer: number
  readonly index: number
  /** Where its content is: elsewhere for a hard link. */
  readonly contentLayer: number
  readonly contentIndex: number
}

interface Node {
  /** Absent for a directory that no entry declares. */
  entry?: InventoryEntry
  layer: number
  index: number
  contentLayer: number
  contentIndex: number
  /** Absent for what is not a directory. */
  children?: Map<string, Node>
  /** In this layer and later ones, nothing of lower layers than this is below. */
  clearedBy?: number
}

const WHITEOUT = ".wh."
const OPAQUE = ".wh..wh..opq"
const MAX_DEPTH = 1024
const MAX_LINKS = 40
// Components of paths and links that are followed, over all layers: an ordinary image has some millions.
const MAX_STEPS = 100_000_000

/**
 * The root file system by OCI image specification 1.1 ("Image Layer Filesystem Changeset"): whiteouts and opaque
 * directories hide what lower layers have, never what their own layer brings, and parents are found through symbolic
 * links, as a runtime does that unpacks into a root.
 */
export class EffectiveRoot {
  readonly #root: Node = directory(-1)
  #layers = 0
  #steps = 0

  /** @throws EvidenceError limit-exceeded where directories nest too deeply, or links lead too far about */
  apply(entries: readonly InventoryEntry[]): void {
    const layer = this.#layers++
    for (const [index, entry] of entries.entries()) this.#applyEntry(entry, layer, index)
  }

  /** What `path` names, symbolic links followed; undefined where nothing is there. */
  find(path: string): RootFile | undefined {
    const found = this.#resolve(normalizePath(path))
    return found === undefined ? undefined : rootFile(normalizePath(path), found)
  }

  /** Everything that entries declare, directories included, each before what it contains. */
  *walk(): Generator<RootFile> {
    const open: { path: string; node: Node }[] = [{ path: "", node: this.#root }]
    for (let current = open.pop(); current !== undefined; current = open.pop()) {
      const { path, node } = current
      const file = rootFile(path, node)
      if (file !== undefined) yield file
      for (const [name, child] of node.children ?? [])
        open.push({ path: path === "" ? name : `${path}/${name}`, node: child })
    }
  }

  #applyEntry(entry: InventoryEntry, layer: number, index: number): void {
    const path = pathInRoot(entry)
    const slash = path.lastIndexOf("/")
    const name = path.slice(slash + 1)
    if (name === "") return
    const parent = this.#makeDirectory(slash < 0 ? [] : path.slice(0, slash).split("/"), layer)
    if (name === OPAQUE) hideLower(parent, layer)
    else if (name.startsWith(WHITEOUT)) this.#hide(parent, name.slice(WHITEOUT.length), layer)
    else this.#put(parent, name, { entry, layer, index, contentLayer: layer, contentIndex: index })
  }

  #hide(parent: Node, name: string, layer: number): void {
    const child = parent.children?.get(name)
    if (child === undefined) return
    hideLower(child, layer)
    if (child.layer < layer && !child.children?.size) parent.children?.delete(name)
  }

  #put(parent: Node, name: string, node: Node): void {
    const { entry } = node
    if (entry?.type === "directory") {
      const existing = parent.children?.get(name)
      node.children = existing?.children ?? new Map()
      node.clearedBy = existing?.children === undefined ? node.layer : (existing.clearedBy ?? -1)
    } else if (entry?.type === "hardlink") {
      const target = this.#resolve(normalizePath(entry.linkTarget ?? ""), false)
      if (target?.entry !== undefined) {
        node.contentLayer = target.contentLayer
        node.contentIndex = target.contentIndex
      }
    }
    parent.children?.set(name, node)
  }

  /** The directory at a path, symbolic links followed; what is missing, or is no directory, becomes one. */
  #makeDirectory(components: string[], layer: number): Node {
    const pending = components.reverse()
    let trail: Node[] = [this.#root]
    let links = 0
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      this.#step()
      const here = trail.at(-1) ?? this.#root
      if (name === "..") {
        if (trail.length > 1) trail.pop()
        continue
      }
      const child = here.children?.get(name)
      const target = child === undefined ? undefined : linkTarget(child)
      if (target !== undefined && ++links <= MAX_LINKS) {
        if (target.startsWith("/")) trail = [this.#root]
        pending.push(...componentsOf(target).reverse())
        continue
      }
      const next = child?.children === undefined ? directory(layer) : child
      if (next !== child) here.children?.set(name, next)
      trail.push(next)
      if (trail.length > MAX_DEPTH)
        throw new EvidenceError("limit-exceeded", `directories nest deeper than ${MAX_DEPTH}`)
    }
    return trail.at(-1) ?? this.#root
  }

  #resolve(path: string, followLast = true): Node | undefined {
    const pending = path === "" ? [] : path.split("/").reverse()
    let trail: Node[] = [this.#root]
    let links = 0
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      this.#step()
      if (name === "..") {
        if (trail.length > 1) trail.pop()
        continue
      }
      const child = trail.at(-1)?.children?.get(name)
      if (child === undefined) return undefined
      const target = linkTarget(child)
      if (target === undefined || (pending.length === 0 && !followLast)) {
        trail.push(child)
        continue
      }
      if (++links > MAX_LINKS) return undefined
      if (target.startsWith("/")) trail = [this.#root]
      pending.push(...componentsOf(target).reverse())
    }
    return trail.at(-1)
  }

  #step(): void {
    if (++this.#steps > MAX_STEPS)
      throw new EvidenceError("limit-exceeded", "paths and symbolic links of the image lead too far about")
  }
}

const directory = (layer: number): Node => ({
  layer,
  index: -1,
  contentLayer: layer,
  contentIndex: -1,
  children: new Map(),
  clearedBy: layer,
})

const linkTarget = ({ entry }: Node) => (entry?.type === "symlink" ? entry.linkTarget : undefined)

// Not normalised: `..` after a link means the parent of where the link leads.
const componentsOf = (target: string) => target.split("/").filter(component => component !== "" && component !== ".")

/**
 * Removes what lower layers put under `node`, and keeps the directories that lead to what this one did. Once in a layer
 * for each directory: nothing lower can come back, and a layer may say it a hundred thousand times.
 */
function hideLower(node: Node, layer: number): void {
  if (node.children === undefined || (node.clearedBy ?? -1) >= layer) return
  node.clearedBy = layer
  for (const [name, child] of node.children ?? []) {
    hideLower(child, layer)
    if (child.layer < layer && !child.children?.size) node.children?.delete(name)
  }
}

function rootFile(path: string, { entry, layer, index, contentLayer, contentIndex }: Node): RootFile | undefined {
  return entry === undefined ? undefined : { path, entry, layer, index, contentLayer, contentIndex }
}
