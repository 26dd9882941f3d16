import { escapeTerminal } from "../report/escape.js"
import type { ReproducibleBuildObservation } from "../schema/documents.generated.js"

type Facts = ReproducibleBuildObservation["facts"]
type Difference = Facts["differences"][number]

interface Branch {
  readonly text: string
  readonly below: readonly Branch[]
}

/**
 * Where two builds differ, as a tree for people: manifest, config, layers, entries, each with both values. Every name in
 * it is a stranger's and is escaped. Empty where nothing differs.
 */
export function renderDifferenceTree(facts: Facts): string {
  const [first, second] = facts.builds
  if (first === undefined || second === undefined || facts.causes.length === 0) return ""
  const root: Branch = {
    text: `manifest  ${both(first.manifestDigest, second.manifestDigest)}`,
    below: [
      ...facts.differences.filter(({ layer, path }) => layer === null && !isOfConfig(path)).map(leaf),
      configBranch(facts, first.configDigest, second.configDigest),
      ...facts.layers.map(layer => layerBranch(layer, facts.differences)),
      ...(facts.omitted === 0 ? [] : [{ text: `and ${facts.omitted} more`, below: [] }]),
    ],
  }
  return `${[...drawn(root, "", "")].join("\n")}\n`
}

const both = (first: string, second: string) => (first === second ? first : `${first}  |  ${second}`)

// Members of a manifest (OCI image specification 1.1); all other pointers lead into the config.
const isOfConfig = (pointer: string) =>
  pointer !== "" && !/^\/(?:annotations|layers|mediaType|schemaVersion|artifactType|subject)(?:\/|$)/.test(pointer)

function configBranch({ differences }: Facts, first: string, second: string): Branch {
  const below = differences.filter(({ layer, path }) => layer === null && isOfConfig(path)).map(leaf)
  return { text: `config  ${both(first, second)}`, below }
}

function layerBranch(layer: Facts["layers"][number], differences: readonly Difference[]): Branch {
  const made = layer.instruction === null ? "" : `  ${layer.instruction.replace(/\s+/g, " ")}`
  const listed = differences.filter(difference => difference.layer === layer.layer)
  const unlisted = layer.differences - listed.length
  const below = listed.map(leaf)
  if (unlisted > 0) below.push({ text: `and ${unlisted} more`, below: [] })
  return { text: `layer ${layer.layer}  ${both(layer.firstDiffId, layer.secondDiffId)}${made}`, below }
}

function leaf({ path, cause, first, second, consequence }: Difference): Branch {
  const follows = consequence ? "  (follows from the others)" : ""
  return { text: `${path === "" ? "" : `${path}  `}${cause}  ${both(first, second)}${follows}`, below: [] }
}

function* drawn({ text, below }: Branch, lead: string, indent: string): Generator<string> {
  yield `${lead}${escapeTerminal(text)}`
  for (const [index, branch] of below.entries()) {
    const isLast = index === below.length - 1
    yield* drawn(branch, `${indent}${isLast ? "└─ " : "├─ "}`, `${indent}${isLast ? "   " : "│  "}`)
  }
}
