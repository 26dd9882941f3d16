import type { Json } from "../json.js"

/** What a policy lets pass: one file with one content, or a folder or link as a whole. */
export interface Exception {
  /** In the image's root, without a leading slash. */
  readonly path: string
  /** Of the file; null for what a criterion reports without a digest: a folder, a link. */
  readonly sha256: string | null
  readonly reason: string
}

/** The exceptions of one criterion, by the policy that judges: only a maintainer's own can grant one. */
export interface Exceptions {
  /** `policy ID/VERSION`, for the report. */
  readonly policy: string
  readonly granted: readonly Exception[]
}

export const noExceptions: Exceptions = { policy: "", granted: [] }

export interface Place {
  readonly path: string
  readonly sha256: string | null
}

export interface Sorted<Item> {
  readonly counted: readonly Item[]
  readonly excepted: readonly { readonly item: Item; readonly because: string }[]
  /** For a judgement's `observed`: each exception that was granted, and how much it spared. */
  readonly observed: { readonly exceptions?: Json }
}

/** Sorts out what is excepted. `placesOf` gives where an item lies: one place with its very content is enough. */
export function sortOut<Item>(
  items: readonly Item[],
  { policy, granted }: Exceptions,
  placesOf: (item: Item) => readonly Place[],
): Sorted<Item> {
  if (granted.length === 0) return { counted: items, excepted: [], observed: {} }
  const known = new Map(granted.map(exception => [keyOf(exception), { exception, spared: 0 }]))
  const counted: Item[] = []
  const excepted: { item: Item; because: string }[] = []
  for (const item of items) {
    const grant = placesOf(item).flatMap(place => known.get(keyOf(place)) ?? [])[0]
    if (grant === undefined) counted.push(item)
    else excepted.push({ item, because: `excepted by ${policy}: ${grant.exception.reason}` })
    if (grant !== undefined) grant.spared++
  }
  const exceptions = Array.from(known.values(), ({ exception, spared }) => ({ ...exception, spared }))
  return { counted, excepted, observed: { exceptions } }
}

const keyOf = ({ path, sha256 }: Place): string => JSON.stringify([path, sha256])
