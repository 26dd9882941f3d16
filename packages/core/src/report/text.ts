import { catalogue } from "../criteria/index.js"
import type { Finding } from "../rejudge.js"
import { escapeIdentity, escapeTerminal, shorten } from "./escape.js"
import { exceptionsOf } from "./exceptions.js"
import { remediesOf } from "./remedies.js"
import { type Report, SIGNERS_SET_ASIDE } from "./report.js"
import { shortenToColumns, wrapBeside } from "./wrap.js"

const COLUMN = 14
const PARTS_SHOWN = 12
const EXCEPTIONS_SHOWN = 6

/** The report for a terminal: plain text of 80 columns, first what decides. */
export function renderText(report: Report): string {
  const lines = [headline(report), ...refusal(report), ...failures(report), ...summary(report)]
  return `${lines.join("\n")}\n`
}

const VERDICT: Readonly<Record<Report["verdict"], string>> = {
  accepted: "ACCEPTED",
  rejected: "REJECTED",
  "no-decision": "NO DECISION",
  checked: "CHECKED",
}

function headline({ verdict, title, policy }: Report): string {
  const by = policy === null ? "" : `  policy ${escapeTerminal(`${policy.id}/${policy.version}`)}`
  const room = 80 - VERDICT[verdict].length - by.length - 2
  // Only the contributor's own words are cut, never who judged and how.
  const shown = title === "" ? "" : `  ${shortenToColumns(escapeTerminal(title), Math.max(room, 16))}`
  return `${VERDICT[verdict]}${shown}${by}`
}

const row = (label: string, text: string): string[] => wrapBeside(label, escapeTerminal(text), COLUMN)

function refusal({ error, exitCode, bindings }: Report): string[] {
  if (error === null) return []
  const held = bindings.filter(binding => binding.outcome === "holds").map(binding => binding.id)
  return [
    ...row("Refused", `${error.message} [${error.code}, exit ${exitCode}]`),
    ...(held.length === 0 ? [] : row("Held", held.join(", "))),
    ...row("Explained", `verify-evidence --explain ${error.code}`),
  ]
}

// Required ones first: they are why the exit code is 3.
function failures({ findings }: Report): string[] {
  const failed = findings.filter(
    finding => finding.outcome === "fail" || (finding.required && finding.outcome !== "pass"),
  )
  const sorted = failed.toSorted((a, b) => Number(b.required) - Number(a.required))
  return sorted.flatMap(describeFailure)
}

function describeFailure(finding: Finding): string[] {
  const mark = finding.outcome === "fail" ? "FAIL" : "UNMEASURED"
  const required = finding.required ? "" : " (not required)"
  const parts = finding.parts.filter(part => part.because !== finding.because)
  const shown = parts.slice(0, PARTS_SHOWN)
  const more = parts.length - shown.length
  const asked = catalogue.find(candidate => candidate.id === finding.id)
  return [
    `${mark}  ${finding.id}${required}`,
    ...row("  seen", shorten(finding.because, 600)),
    ...shown.flatMap(part => row("  -", shorten(part.because, 300))),
    ...(more > 0 ? row("  -", `and ${more} more, in the JSON report`) : []),
    ...row("  asked", asked?.requirement ?? ""),
    ...remediesOf(finding).flatMap(remedy => row("  fix", shorten(remedy, 400))),
  ]
}

function summary(report: Report): string[] {
  const { findings } = report
  if (findings.length === 0) return signerRows(report)
  const count = (outcome: Finding["outcome"]) => findings.filter(finding => finding.outcome === outcome).length
  const missing = findings.filter(finding => finding.outcome === "unmeasured")
  const optional = missing.every(finding => !finding.required) ? " (not required)" : ""
  return [
    ...signerRows(report),
    ...sameThing(report),
    ...freshness(report),
    ...row(
      "Criteria",
      `${count("pass")} pass, ${count("fail")} fail, ${missing.length} unmeasured${missing.length > 0 ? optional : ""}, of ${findings.length}`,
    ),
    ...assuranceRow("Derived", "derived", findings),
    ...assuranceRow("Corroborated", "corroborated", findings),
    ...assuranceRow(report.verdict === "checked" ? "Observed" : "Signer's word", "attested", findings),
    ...assuranceRow("Unmeasured", "missing", findings),
    ...stillToObserve(report),
    ...askedFor(findings),
    ...row("Not shown", "that the reward means what the README says; behaviour elsewhere"),
  ]
}

// A fast check observes less than a policy may ask for.
function stillToObserve({ verdict, findings }: Report): string[] {
  if (verdict !== "checked" || findings.length >= catalogue.length) return []
  return row("Not checked", "what only building twice and running shows: emit-evidence SUBMISSION")
}

// What the contributor asked to be spared. Declared nondeterminism is shown even where nothing requires determinism.
function askedFor(findings: readonly Finding[]): string[] {
  const skipped = findings.filter(finding => finding.skippedByContributor).length
  const declared = findings.some(finding => finding.observed.declaredNondeterministic === true)
  const granted = findings.flatMap(finding =>
    exceptionsOf(finding).map(exception => ({ ...exception, id: finding.id })),
  )
  return [
    ...row(
      "Asked for",
      `skipped ${skipped} | exceptions ${granted.length} | declared nondeterminism ${declared ? "yes" : "none"}`,
    ),
    ...granted
      .slice(0, EXCEPTIONS_SHOWN)
      .flatMap(({ id, path, reason, spared }) =>
        row(
          "Excepted",
          shorten(`${id} ${path}: ${reason}${spared === 0 ? " (nothing like it is in the image)" : ""}`, 300),
        ),
      ),
    ...(granted.length > EXCEPTIONS_SHOWN ? row("Excepted", `and ${granted.length - EXCEPTIONS_SHOWN} more`) : []),
  ]
}

function signerRows({ bundles, error, honesty }: Report): string[] {
  const setAside = honesty.notChecked.includes(SIGNERS_SET_ASIDE) ? row("Set aside", SIGNERS_SET_ASIDE) : []
  const rows = bundles.flatMap(({ signer }) => {
    if (signer === null) return row("Signer", "none that was verified")
    const issuer = signer.issuer === null ? `a ${signer.kind}` : `issuer ${escapeIdentity(signer.issuer)}`
    const who = `${escapeIdentity(signer.identity)} (${issuer})`
    const isRefused = error?.code === "untrusted-signer" || error?.code === "untrusted-key"
    return wrapBeside("Signer", isRefused ? `NOT ACCEPTED: ${who}` : `${who}, ${machineOf(signer.claims)}`, COLUMN)
  })
  return [...rows, ...setAside]
}

// Only the CI provider's own machines are not the contributor's: on any other, root can invent figures.
const machineOf = (claims: Readonly<Record<string, unknown>>): string =>
  claims.runnerEnvironment === "github-hosted"
    ? "on a machine hosted by the CI provider"
    : "on its own machine: root there can invent figures"

function sameThing({ bindings, verdict }: Report): string[] {
  const isShown = (id: string) => Object.hasOwn(BINDING_NAMES, id) || id === "platforms"
  // Which image it was is news only where one was checked on its own.
  const shown = bindings.filter(({ id }) => isShown(id) || (id === "image" && verdict === "checked"))
  return shown.length === 0 ? [] : row("Same thing", shown.map(describeBinding).join(" | "))
}

function describeBinding({ id, outcome, because }: Report["bindings"][number]): string {
  const name = BINDING_NAMES[id] ?? id
  if (id === "platforms") return `platforms ${because}`
  if (id === "image") return because
  if (outcome === "holds") return `${name}: yes${because.startsWith("by its config") ? ", by its config alone" : ""}`
  return `${name}: ${id === "image-from-source" ? because.split(":")[0] : "not checked"}`
}

const BINDING_NAMES: Readonly<Record<string, string>> = {
  "expected-image": "the image named",
  "expected-submission": "source is this checkout",
  "image-from-source": "image from this source",
}

function freshness({ bundles, challenge }: Report): string[] {
  return bundles.flatMap(({ signedAt, measuredAfter }) => {
    const start = measuredAfter === null ? "start unknown" : `measured after ${measuredAfter}`
    const checked = measuredAfter !== null && challenge.outcome !== "holds" ? " (not one of yours)" : ""
    const end =
      signedAt === null ? "signing time unknown" : `signed ${signedAt.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")}`
    return row("Fresh", `${start}${checked}, ${end}`)
  })
}

function assuranceRow(label: string, assurance: Finding["assurance"], findings: readonly Finding[]): string[] {
  const named = findings.filter(finding => finding.assurance === assurance)
  if (named.length === 0) return []
  const names = named.map(({ id }) => catalogue.find(candidate => candidate.id === id)?.name ?? id)
  return row(`${label} ${named.length}`, names.join(", "))
}
