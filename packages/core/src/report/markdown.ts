import type { Finding } from "../rejudge.js"
import { escapeIdentity, escapeMarkdown, shorten } from "./escape.js"
import { remediesOf } from "./remedies.js"
import type { Report } from "./report.js"
import { renderText } from "./text.js"

const PARTS_SHOWN = 20

/** The report for a pull request: the first screen as it stands in a terminal, then a table and the details. */
export function renderMarkdown(report: Report): string {
  const sections = [
    firstScreen(report),
    table(report.findings),
    details(report.findings),
    bindings(report),
    honesty(report),
  ]
  return `${sections.filter(section => section !== "").join("\n\n")}\n`
}

// Inside a fence nothing is markup but the fence itself; its length is chosen so that no text can close it.
function firstScreen(report: Report): string {
  const text = renderText(report).trimEnd()
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), match => match[0].length))
  const fence = "`".repeat(longest + 1)
  return `${fence}text\n${text}\n${fence}`
}

function table(findings: readonly Finding[]): string {
  if (findings.length === 0) return ""
  const rows = findings.map(({ id, required, outcome, assurance, because }) =>
    [id, outcome, required ? "yes" : "no", assurance, shorten(because, 200)].map(escapeMarkdown).join(" | "),
  )
  return [
    "| criterion | outcome | required | rests on | because |",
    "|---|---|---|---|---|",
    ...rows.map(row => `| ${row} |`),
  ].join("\n")
}

function details(findings: readonly Finding[]): string {
  return findings
    .filter(finding => finding.outcome === "fail")
    .map(finding => {
      const { id, parts, because } = finding
      const seen = parts.length === 0 ? [because] : parts.slice(0, PARTS_SHOWN).map(part => part.because)
      const more = Math.max(0, parts.length - seen.length)
      return [
        `### ${id}`,
        "",
        ...seen.map(text => `- ${escapeMarkdown(shorten(text, 400))}`),
        ...(more > 0 ? [`- and ${more} more`] : []),
        ...remediesOf(finding).map(remedy => `- Fix: ${escapeMarkdown(remedy)}`),
      ].join("\n")
    })
    .join("\n\n")
}

function bindings({ bindings: all }: Report): string {
  if (all.length === 0) return ""
  const rows = all.map(({ id, outcome, because }) => `| ${[id, outcome, because].map(escapeMarkdown).join(" | ")} |`)
  return ["| binding | outcome | because |", "|---|---|---|", ...rows].join("\n")
}

function honesty({ honesty: { proves, recomputedHere, attestedOnly, notChecked } }: Report): string {
  const line = (label: string, items: readonly string[]) =>
    items.length === 0 ? [] : [`- **${label}**: ${items.map(item => escapeMarkdown(escapeIdentity(item))).join("; ")}`]
  return [
    ...line("Proved", proves),
    ...line("Recomputed here", recomputedHere),
    ...line("On the signer's word", attestedOnly),
    ...line("Not checked", notChecked),
  ].join("\n")
}
