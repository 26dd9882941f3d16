// What the documents' tests read out of Markdown: tables, fenced blocks, links.
import { readFileSync } from "node:fs"
import { join } from "node:path"

export const root = join(import.meta.dirname, "..", "..")

export const documents = [
  "README.md",
  "SPEC.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  "docs/architecture.md",
  "examples/README.md",
] as const

export const readDocument = (path: string): string => readFileSync(join(root, path), "utf8")

export interface Fence {
  readonly document: string
  readonly language: string
  readonly text: string
}

/** The fenced blocks of a document, in order. */
export const fencesOf = (document: string): Fence[] =>
  [...readDocument(document).matchAll(/^( *)```(\w*)\n([\s\S]*?)^\1```$/gm)].map(([, , language = "", text = ""]) => ({
    document,
    language,
    text,
  }))

/** The rows, below the header, of the table whose header is given; cells without their code marks. */
export function tableOf(document: string, header: string): string[][] {
  const lines = readDocument(document).split("\n")
  const start = lines.indexOf(header)
  if (start < 0) throw new Error(`${document} has no table ${header}`)
  const end = lines.findIndex((line, i) => i > start && !line.startsWith("|"))
  return lines.slice(start + 2, end < 0 ? undefined : end).map(cellsOf)
}

const cellsOf = (line: string): string[] =>
  line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map(cell => cell.trim().replaceAll("\\|", "|"))

export const withoutCode = (cell: string): string => cell.replace(/^`(.*)`$/, "$1")

/** Where a document's links lead, fenced blocks aside. */
export const linksOf = (document: string): string[] =>
  [
    ...readDocument(document)
      .replace(/^( *)```[\s\S]*?^\1```$/gm, "")
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].map(([, target = ""]) => target)

/** GitHub's anchors of a document's headings. */
export const anchorsOf = (document: string): string[] =>
  [...readDocument(document).matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  )

/** The words of each command in the shell blocks of a document: continued lines joined, comments and quotes gone. */
export function commandsOf(document: string): string[][] {
  return fencesOf(document)
    .filter(({ language }) => language === "bash")
    .flatMap(({ text }) => text.replaceAll("\\\n", " ").split("\n"))
    .flatMap(line => line.replace(/(^|\s)#.*$/, "").split(" && "))
    .map(wordsOf)
    .filter(words => words.length > 0)
}

const wordsOf = (line: string): string[] =>
  [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/["']/g, ""))
