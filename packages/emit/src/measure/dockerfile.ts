// A Dockerfile as far as it says which files of the context end up in which layer. It is a stranger's: bounded before it
// is read, matched in linear time, never run.

/** One instruction of a stage, with its continuation lines joined. */
export interface Instruction {
  /** In capitals. */
  readonly keyword: string
  readonly rest: string
  /** 1 is the first. */
  readonly line: number
}

export interface Stage {
  /** What FROM names: an image, or an earlier stage. */
  readonly from: string
  readonly name: string | null
  readonly instructions: readonly Instruction[]
}

/** COPY or ADD: what is copied, and from which stage or image; null for the build context. */
export interface CopyInstruction {
  readonly sources: readonly string[]
  readonly from: string | null
  readonly line: number
}

/** The stages in their order; none for a text that has no FROM. */
export function parseDockerfile(text: string): readonly Stage[] {
  const stages: (Omit<Stage, "instructions"> & { readonly instructions: Instruction[] })[] = []
  for (const instruction of readInstructions(text)) {
    if (instruction.keyword !== "FROM") stages.at(-1)?.instructions.push(instruction)
    else {
      const words = withoutFlags(wordsOf(instruction.rest)).words
      const [from = "", as, name] = words
      const named = as?.toUpperCase() === "AS" && name !== undefined
      stages.push({ from, name: named ? name.toLowerCase() : null, instructions: [] })
    }
  }
  return stages
}

/** The stage that a name or number means, among those before `before`. */
export function findStage(stages: readonly Stage[], reference: string, before: number): number | undefined {
  const byName = stages.slice(0, before).findLastIndex(({ name }) => name === reference.toLowerCase())
  if (byName >= 0) return byName
  const number = /^\d{1,4}$/.test(reference) ? Number(reference) : before
  return number < before ? number : undefined
}

/** Null for other instructions, and for a heredoc, whose content stands in the Dockerfile itself. */
export function parseCopy({ keyword, rest, line }: Instruction): CopyInstruction | null {
  if (keyword !== "COPY" && keyword !== "ADD") return null
  const { flags, words } = withoutFlags(wordsOf(rest))
  if (words.some(word => word.startsWith("<<"))) return null
  const paths = jsonWords(words.join(" ")) ?? words
  const from = flags.findLast(flag => flag.startsWith("--from="))?.slice("--from=".length) ?? null
  return { sources: paths.slice(0, -1), from, line }
}

const wordsOf = (text: string): string[] => text.split(/[ \t]+/).filter(word => word !== "")

function withoutFlags(words: readonly string[]): { flags: string[]; words: string[] } {
  const end = words.findIndex(word => !word.startsWith("--"))
  const at = end < 0 ? words.length : end
  return { flags: words.slice(0, at), words: words.slice(at) }
}

function jsonWords(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.every(item => typeof item === "string") ? value : undefined
  } catch {
    return undefined
  }
}

function* readInstructions(text: string): Generator<Instruction> {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/)
  const continuation = escapeOf(lines)
  for (let at = 0; at < lines.length; at++) {
    const line = at + 1
    if (isNothing(lines[at])) continue
    let joined = ""
    for (; at < lines.length; at++) {
      const next = lines[at] ?? ""
      // Comments and empty lines may stand inside an instruction (Dockerfile reference, "Format").
      if (joined !== "" && isNothing(next)) continue
      const trimmed = next.trimEnd()
      if (!trimmed.endsWith(continuation)) {
        joined += next
        break
      }
      joined += `${trimmed.slice(0, -1)} `
    }
    for (const end of heredocsOf(joined)) at = endOfHeredoc(lines, at, end)
    const [, keyword = "", rest = ""] = /^\s*(\S+)\s*(.*)$/s.exec(joined) ?? []
    yield { keyword: keyword.toUpperCase(), rest: rest.trim(), line }
  }
}

const isNothing = (line = "") => /^\s*(#|$)/.test(line)

/** The directive `# escape=` counts only before anything else. */
function escapeOf(lines: readonly string[]): string {
  for (const line of lines) {
    const directive = /^\s*#\s*(\w+)\s*=\s*(\S+)\s*$/.exec(line)
    if (directive === null) return "\\"
    if (directive[1]?.toLowerCase() === "escape") return directive[2] === "`" ? "`" : "\\"
  }
  return "\\"
}

interface Heredoc {
  readonly word: string
  /** `<<-` lets tabs stand before the end. */
  readonly tabs: boolean
}

function heredocsOf(instruction: string): Heredoc[] {
  if (!/^\s*(RUN|COPY|ADD)\b/i.test(instruction)) return []
  return [...instruction.matchAll(/<<(-?)(["']?)([A-Za-z_]\w{0,63})\2/g)].map(([, dash, , word = ""]) => ({
    word,
    tabs: dash === "-",
  }))
}

function endOfHeredoc(lines: readonly string[], from: number, { word, tabs }: Heredoc): number {
  const isEnd = (line: string) => (tabs ? line.replace(/^\t+/, "") : line) === word
  const found = lines.findIndex((line, index) => index > from && isEnd(line))
  return found < 0 ? lines.length : found
}

const LAYER_MAKERS = new Set(["RUN", "COPY", "ADD"])

/**
 * The line of the instruction that made a layer, counted from the top, where the final stage and the image's history
 * agree all the way down to it. `history` has the instruction of each layer, from the base up.
 */
export function lineOfLayer(
  stages: readonly Stage[],
  history: readonly (string | null)[],
  layer: number,
): number | null {
  const makers = finalInstructions(stages).filter(({ keyword }) => LAYER_MAKERS.has(keyword))
  for (let index = history.length - 1; index >= layer; index--) {
    const made = history[index] ?? ""
    // BuildKit makes a layer of WORKDIR, buildah none.
    if (made.startsWith("WORKDIR ") && index > layer) continue
    const instruction = makers.pop()
    if (instruction === undefined || !isMadeBy(made, instruction)) return null
    if (index === layer) return instruction.line
  }
  return null
}

function finalInstructions(stages: readonly Stage[]): readonly Instruction[] {
  let at: number | undefined = stages.length - 1
  const chain: Instruction[] = []
  while (at !== undefined && at >= 0) {
    const stage: Stage | undefined = stages[at]
    chain.unshift(...(stage?.instructions ?? []))
    at = findStage(stages, stage?.from ?? "", at)
  }
  return chain
}

function isMadeBy(made: string, { keyword, rest }: Instruction): boolean {
  if (!made.startsWith(`${keyword} `)) return false
  return keyword !== "RUN" || unspaced(made) === unspaced(`RUN ${withoutFlags(wordsOf(rest)).words.join(" ")}`)
}

const unspaced = (text: string) => text.replace(/\s+/g, " ").trim()
