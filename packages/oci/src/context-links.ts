import { readdir, readlink } from "node:fs/promises"
import { join } from "node:path"

/** A symbolic link of a build context, and where it points. */
export interface ContextLink {
  readonly path: string
  readonly target: string
}

/**
 * The first symbolic link below `directory` that leads out of it: an absolute one, or one that climbs above the root,
 * through other links too. What it leads to need not exist.
 */
export async function findLinkOut(directory: string): Promise<ContextLink | undefined> {
  const links = new Map<string, string>()
  await collectLinks(directory, [], links)
  return [...links]
    .map(([path, target]) => ({ path, target }))
    .find(({ path }) => resolveLink(path.split("/"), links, 0) === undefined)
}

async function collectLinks(directory: string, folder: readonly string[], links: Map<string, string>): Promise<void> {
  for (const entry of await readdir(join(directory, ...folder), { withFileTypes: true })) {
    const path = [...folder, entry.name]
    if (entry.isSymbolicLink()) links.set(path.join("/"), await readlink(join(directory, ...path)))
    else if (entry.isDirectory()) await collectLinks(directory, path, links)
  }
}

// path_resolution(7): the kernel gives up after 40.
const LINKS_FOLLOWED = 40

/** Where a link ends, as the kernel would resolve it in the context alone; undefined where it leads out. */
function resolveLink(path: readonly string[], links: ReadonlyMap<string, string>, depth: number): string[] | undefined {
  const target = links.get(path.join("/")) ?? ""
  if (target.startsWith("/") || depth > LINKS_FOLLOWED) return undefined
  let at: string[] | undefined = path.slice(0, -1)
  for (const part of target.split("/").filter(each => each !== "" && each !== ".")) {
    if (part === "..") {
      if (at.pop() === undefined) return undefined
      continue
    }
    at.push(part)
    if (links.has(at.join("/"))) at = resolveLink(at, links, depth + 1)
    if (at === undefined) return undefined
  }
  return at
}
