import { EvidenceError } from "../errors.js"
import { limits } from "../limits.js"
import { pathInRoot } from "./inventory.js"
import type { ImageLayer, InventoryEntry } from "./view.js"

/** What dive 0.13.1 says of an image, to the last digit. */
export interface DiveFigures {
  /** Σ smallest size of each path / Σ of all its sizes; 1 for an image without bytes. */
  readonly efficiency: number
  /** Bytes of all paths that more than one layer writes or deletes, the copy that is kept included. */
  readonly wastedBytes: number
  readonly sizeBytes: number
  /** The same without the first layer. */
  readonly userBytes: number
  /** `wastedBytes / userBytes`, a fraction as dive has it; null where that is no number. */
  readonly wastedUserPercent: number | null
  readonly inefficient: readonly InefficientPath[]
}

export interface InefficientPath {
  /** With a leading slash, as dive writes it. */
  readonly path: string
  /** In how many layers the path is a leaf. */
  readonly references: number
  readonly bytes: number
  /** What would be spared if it were shipped once, in its smallest form. */
  readonly redundantBytes: number
}

/**
 * dive's efficiency (`dive/filetree/efficiency.go`, MIT licence, read for its behaviour): its quirks are kept, since the
 * figures are for people who compare them with dive's. A folder that a later layer deletes costs its size again; one
 * that no entry declares costs nothing; a whiteout of what is not there ends its layer, and counts -1.
 *
 * @throws EvidenceError limit-exceeded where paths are too deep, or make trees that are too large
 */
export function diveFigures(layers: readonly ImageLayer[]): DiveFigures {
  const budget = { nodes: limits.treeNodes }
  const trees = layers.map(({ entries }) => treeOf(entries, budget))
  const stack = new Stack(trees)
  const paths = new Map<string, PathFigures>()
  for (const [index, tree] of trees.entries()) visitLeaves(tree, paths, path => stack.deletedBytes(index, path))
  return summarize(paths, trees)
}

// A few long paths make a tree that is larger than their inventory by far.
interface Budget {
  nodes: number
}

interface Node {
  size: number
  isDirectory: boolean
  /** Absent until the first child. */
  children?: Map<string, Node>
}

interface Tree extends Node {
  children: Map<string, Node>
  /** Sizes of all entries of the archive, those that another entry of it replaces included. */
  totalBytes: number
  hasWhiteouts: boolean
}

const WHITEOUT = ".wh."
/** Never nodes of dive's tree, but their parents are. */
const MARKER = ".wh..wh.."

function treeOf(entries: readonly InventoryEntry[], budget: Budget): Tree {
  const tree: Tree = { size: 0, isDirectory: false, children: new Map(), totalBytes: 0, hasWhiteouts: false }
  for (const entry of entries) {
    const path = pathInRoot(entry)
    if (path === "") continue
    tree.totalBytes += entry.size
    const names = path.split("/")
    if (names.length > limits.treeDepth)
      throw new EvidenceError("limit-exceeded", `a path of ${names.length} names: ${limits.treeDepth} are the limit`)
    addPath(tree, names, entry.size, entry.type === "directory", budget)
    tree.hasWhiteouts ||= path.startsWith(WHITEOUT) || path.includes(`/${WHITEOUT}`)
  }
  return tree
}

/** What lies on the way is made without a size and is no directory, as dive has it. */
function addPath(root: Node, names: readonly string[], size: number, isDirectory: boolean, budget: Budget): void {
  let node = root
  for (const name of names) {
    let next = node.children?.get(name)
    if (next === undefined) {
      if (name.startsWith(MARKER)) return
      if (budget.nodes-- === 0)
        throw new EvidenceError("limit-exceeded", `the layers' paths have more than ${limits.treeNodes} names`)
      next = { size: 0, isDirectory: false }
      node.children ??= new Map()
      node.children.set(name, next)
    }
    node = next
  }
  node.size = size
  node.isDirectory = isDirectory
}

interface PathFigures {
  sum: number
  /** -1 while nothing was found. */
  smallest: number
  references: number
}

type DeletedBytes = (path: string) => number | undefined

/** Children first, in order of names; a whiteout of what is not there ends the walk. Returns whether it went on. */
function visitLeaves(tree: Tree, paths: Map<string, PathFigures>, deletedBytes: DeletedBytes): boolean {
  const visit = (node: Node, name: string, parent: string): boolean => {
    if (isLeaf(node)) return count(node, name, parent)
    const path = `${parent}/${name}`
    for (const [child, below] of inOrder(node, tree.hasWhiteouts)) if (!visit(below, child, path)) return false
    return true
  }
  const count = (node: Node, name: string, parent: string): boolean => {
    const deletes = name.startsWith(WHITEOUT)
    const path = `${parent}/${deletes ? name.slice(WHITEOUT.length) : name}`
    const figures = paths.get(path) ?? { sum: 0, smallest: -1, references: 0 }
    paths.set(path, figures)
    const bytes = deletes ? deletedBytes(path) : node.size
    if (bytes === undefined) return false
    figures.sum += bytes
    if (figures.smallest < 0 || bytes < figures.smallest) figures.smallest = bytes
    figures.references++
    return true
  }
  for (const [name, node] of inOrder(tree, tree.hasWhiteouts)) if (!visit(node, name, "")) return false
  return true
}

const isLeaf = ({ children }: Node) => children === undefined || children.size === 0

// Only where something is deleted does the order change a figure.
function inOrder({ children = new Map() }: Node, matters: boolean): Iterable<readonly [string, Node]> {
  return matters ? [...children].sort(([a], [b]) => compareBytes(a, b)) : children
}

/** Order of the names' bytes in UTF-8, which is that of their code points. */
function compareBytes(a: string, b: string): number {
  const end = Math.min(a.length, b.length)
  for (let i = 0; i < end; i++) {
    const difference = rank(a.charCodeAt(i)) - rank(b.charCodeAt(i))
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

// Surrogate pairs stand for code points above all others.
const rank = (unit: number) => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit)

/** dive's stacked tree: the lower layers, on top of a copy of the first, whose whiteouts stay in it as files. */
class Stack {
  readonly #trees: readonly Tree[]
  readonly #budget: Budget = { nodes: limits.treeNodes }
  #stacked = 0
  #root: Node | undefined

  constructor(trees: readonly Tree[]) {
    this.#trees = trees
  }

  /** What a whiteout in `layer` counts for: the size of a directory, else nothing; undefined where nothing is there. */
  deletedBytes(layer: number, path: string): number | undefined {
    const root = this.#below(layer)
    let node: Node | undefined = root
    for (const name of path.split("/")) if (name !== "") node = node?.children?.get(name)
    if (node === undefined) return undefined
    return node.isDirectory && node !== root ? totalSize(node) : 0
  }

  #below(layer: number): Node {
    this.#root ??= copy(this.#trees[0] ?? { size: 0, isDirectory: false })
    for (; this.#stacked < layer; this.#stacked++) {
      const tree = this.#trees[this.#stacked]
      if (tree !== undefined) stackOnto(this.#root, tree, this.#budget)
    }
    return this.#root
  }
}

function copy({ size, isDirectory, children }: Node): Node {
  if (children === undefined) return { size, isDirectory }
  return { size, isDirectory, children: new Map(Array.from(children, ([name, child]) => [name, copy(child)])) }
}

function totalSize({ size, children }: Node): number {
  let sum = size
  for (const child of children?.values() ?? []) sum += totalSize(child)
  return sum
}

function stackOnto(root: Node, tree: Tree, budget: Budget): void {
  const graft = (upper: Node, names: string[]) => {
    for (const [name, child] of inOrder(upper, tree.hasWhiteouts)) {
      names.push(name)
      graft(child, names)
      if (name.startsWith(WHITEOUT)) remove(root, [...names.slice(0, -1), name.slice(WHITEOUT.length)].filter(Boolean))
      else addPath(root, names, child.size, child.isDirectory, budget)
      names.pop()
    }
  }
  graft(tree, [])
}

function remove(root: Node, names: readonly string[]): void {
  let parent: Node | undefined = root
  const name = names.at(-1)
  for (const step of names.slice(0, -1)) parent = parent?.children?.get(step)
  if (name !== undefined) parent?.children?.delete(name)
}

function summarize(paths: ReadonlyMap<string, PathFigures>, trees: readonly Tree[]): DiveFigures {
  let smallest = 0
  let sum = 0
  let wastedBytes = 0
  const inefficient: InefficientPath[] = []
  for (const [path, figures] of paths) {
    smallest += figures.smallest
    sum += figures.sum
    if (figures.references < 2) continue
    wastedBytes += figures.sum
    const { references, sum: bytes } = figures
    inefficient.push({ path, references, bytes, redundantBytes: bytes - figures.smallest })
  }
  const sizeBytes = trees.reduce((total, tree) => total + tree.totalBytes, 0)
  const userBytes = sizeBytes - (trees[0]?.totalBytes ?? 0)
  const wastedUserPercent = wastedBytes / userBytes
  return {
    efficiency: sum === 0 ? 1 : smallest / sum,
    wastedBytes,
    sizeBytes,
    userBytes,
    wastedUserPercent: Number.isFinite(wastedUserPercent) ? wastedUserPercent : null,
    inefficient: inefficient.sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1)),
  }
}
