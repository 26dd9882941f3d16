import type { FoundPackage } from "./packages.js"

/** Edges in one SBOM; a database made to deceive may ask for a hundred thousand of a hundred thousand. */
export const MAX_EDGES = 1_000_000

export interface Edges {
  /** For each package the indexes of those it needs, in order, without itself. */
  readonly of: readonly (readonly number[])[]
  /** The package from which on some are missing, since there are more than MAX_EDGES. */
  readonly missingFrom: FoundPackage | undefined
}

/** Joins what packages need with what others offer: one that is not installed, or not named by a package, has no edge. */
export function dependencyEdges(packages: readonly FoundPackage[]): Edges {
  const offers = new Offers(packages)
  let left = MAX_EDGES
  let missingFrom: FoundPackage | undefined
  const of = packages.map((found, index) => {
    const needed = new Set<number>()
    for (const name of new Set(found.facts.requires)) {
      for (const other of offers.find(found, name)) {
        if (other === index || needed.has(other)) continue
        if (left === 0) {
          missingFrom ??= found
          break
        }
        left--
        needed.add(other)
      }
    }
    return [...needed].sort((a, b) => a - b)
  })
  return { of, missingFrom }
}

class Offers {
  readonly #byName = new Map<string, number[]>()

  constructor(packages: readonly FoundPackage[]) {
    // File names are a package's most, and few of them are asked for.
    const wanted = new Set(packages.flatMap(({ facts }) => facts.requires))
    for (const [index, found] of packages.entries()) {
      for (const name of new Set([ownName(found), ...found.facts.provides]))
        if (wanted.has(name)) this.#put(`${scopeOf(found)}\0${name}`, index)
      if (found.facts.type === "pypi") this.#put(`pypi\0${ownName(found)}`, index)
    }
  }

  find(found: FoundPackage, name: string): readonly number[] {
    if (found.facts.type === "npm") return this.#nearest(found.path, name)
    const near = this.#byName.get(`${scopeOf(found)}\0${name}`) ?? []
    // Python looks into more than one folder.
    return near.length === 0 && found.facts.type === "pypi" ? (this.#byName.get(`pypi\0${name}`) ?? []) : near
  }

  // Node looks into node_modules of the folder, and of each folder above it ("Loading from node_modules folders").
  #nearest(path: string, name: string): readonly number[] {
    for (let folder = parentOf(path); ; folder = parentOf(folder)) {
      const found = this.#byName.get(`npm\0${folder === "" ? "" : `${folder}/`}node_modules\0${name}`)
      if (found !== undefined || folder === "") return found ?? []
    }
  }

  #put(key: string, index: number): void {
    const earlier = this.#byName.get(key)
    if (earlier === undefined) this.#byName.set(key, [index])
    else earlier.push(index)
  }
}

/** Where a name means one thing: the system for its package manager, a folder for Python and npm, a program else. */
function scopeOf({ facts, path }: FoundPackage): string {
  switch (facts.type) {
    case "deb":
    case "apk":
    case "rpm":
      return facts.type
    case "pypi":
      return `pypi\0${sitePackages(path)}`
    case "npm":
      return `npm\0${/^((?:.*\/)?node_modules)\/(?:@[^/]+\/)?[^/]+\/package\.json$/.exec(path)?.[1]}`
    default:
      return `${facts.type}\0${path}`
  }
}

function ownName({ facts }: FoundPackage): string {
  return facts.type === "pypi" ? (facts.purl.name ?? facts.name) : facts.name
}

const sitePackages = (path: string) => path.replace(/\/?[^/]+\.(dist-info|egg-info|egg)(\/.*)?$/, "")

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")))
