import { EvidenceError } from "../errors.js"
import { pathInRoot } from "./inventory.js"
import type { ImageLayer, InventoryEntry } from "./view.js"

const WHITEOUT = ".wh."
const OPAQUE = ".wh..wh..opq"

/** Whether the entry deletes rather than adds (image-spec 1.1, "Whiteouts"). */
export const isWhiteout = (path: string): boolean => baseName(path).startsWith(WHITEOUT)

export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1)

export const dirName = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")))

/** What the layers do to one path and to what lies below, each as the last layer that does it. */
interface Node {
  deletedBy: number
  opaqueBy: number
  readonly children: Map<string, Node>
}

const NEVER = -1
// An ordinary image deletes some thousands of paths; a node takes some two hundred bytes of memory.
const MAX_NODES = 1_000_000

/** Answers whether a later layer deletes or replaces a path (of `pathInRoot`), which is shipped all the same. */
export class Overlay {
  readonly #writtenBy = new Map<string, number>()
  readonly #root = newNode()
  #nodes = 0

  /** @throws EvidenceError limit-exceeded where the layers delete more than any image does */
  constructor(layers: readonly ImageLayer[]) {
    for (const [index, { entries }] of layers.entries()) for (const entry of entries) this.#add(entry, index)
  }

  /** Takes time in proportion to the length of the path, whatever the layers hold. */
  hides(layer: number, path: string): boolean {
    if ((this.#writtenBy.get(path) ?? NEVER) > layer) return true
    // A file in the place of a folder hides what was in it.
    for (let parent = dirName(path); parent !== ""; parent = dirName(parent))
      if ((this.#writtenBy.get(parent) ?? NEVER) > layer) return true
    let node: Node | undefined = this.#root
    for (const name of path.split("/")) {
      // An opaque folder hides what is in it, a deleted path also itself.
      if (node.opaqueBy > layer) return true
      node = node.children.get(name)
      if (node === undefined) return false
      if (node.deletedBy > layer) return true
    }
    return false
  }

  #add(entry: InventoryEntry, layer: number): void {
    const path = pathInRoot(entry)
    const name = baseName(path)
    if (name === OPAQUE) this.#nodeAt(dirName(path)).opaqueBy = layer
    else if (name.startsWith(WHITEOUT)) this.#delete(dirName(path), name.slice(WHITEOUT.length), layer)
    else if (entry.type !== "directory") this.#writtenBy.set(path, layer)
  }

  #delete(parent: string, name: string, layer: number): void {
    this.#nodeAt(parent === "" ? name : `${parent}/${name}`).deletedBy = layer
  }

  #nodeAt(path: string): Node {
    let node = this.#root
    for (const name of path === "" ? [] : path.split("/")) {
      node = node.children.get(name) ?? this.#addChild(node, name)
    }
    return node
  }

  #addChild(parent: Node, name: string): Node {
    if (++this.#nodes > MAX_NODES)
      throw new EvidenceError("limit-exceeded", `the layers delete more than ${MAX_NODES} paths`)
    const child = newNode()
    parent.children.set(name, child)
    return child
  }
}

const newNode = (): Node => ({ deletedBy: NEVER, opaqueBy: NEVER, children: new Map() })
