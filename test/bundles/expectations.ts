// What holds for every report, whatever was decided.
import { columnsOf, type Report, renderReport, schemaViolation } from "@envidence/core"
import { expect } from "vitest"
import type { VerifyRun } from "./verifying.ts"

/** The run refuses, for this reason, with a report in order that shows nothing unproven. */
export function expectRefusal(run: VerifyRun, exitCode: number, code: string): Report {
  expect({ exitCode: run.exitCode, code: run.code, stderr: run.stderr }).toEqual({ exitCode, code, stderr: "" })
  const report = expectReport(run)
  expect(report.findings).toEqual([])
  expect(report.verdict).toBe("rejected")
  return report
}

/** The run ends with a report in order and this exit code: 0 or 3. */
export function expectVerdict(run: VerifyRun, exitCode: 0 | 3): Report {
  expect({ exitCode: run.exitCode, code: run.code, stderr: run.stderr }).toEqual({ exitCode, code: null, stderr: "" })
  const report = expectReport(run)
  expect(report.verdict).toBe(exitCode === 0 ? "accepted" : "rejected")
  expect(report.findings).toHaveLength(18)
  return report
}

/** The run gives up without a report: wrong usage, or no decision. */
export function expectNoReport(run: VerifyRun, exitCode: 1 | 2, code: string): void {
  expect({ exitCode: run.exitCode, code: run.code, stdout: run.stdout }).toEqual({ exitCode, code, stdout: "" })
  expectSafeText(run.stderr)
}

function expectReport({ report, exitCode }: VerifyRun): Report {
  if (report === null) throw new Error("there is no report")
  expect(schemaViolation("ReportDocument", report)).toBeUndefined()
  expect(report.exitCode).toBe(exitCode)
  const text = renderReport(report, "text")
  expectSafeText(text)
  expectNarrow(text)
  expectSafeMarkdown(renderReport(report, "markdown"))
  return report
}

export function expectSafeText(text: string): void {
  expect(text).not.toMatch(/[\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]|(?!\n)\p{Cc}/u)
}

export function expectNarrow(text: string): void {
  expect(text.split("\n").filter(line => columnsOf(line) > 80)).toEqual([])
}

/** No markup of a contributor's, neither as written nor to the filters that make links after references are decoded. */
export function expectInert(markdown: string): void {
  expect(markdown).not.toMatch(/[<>@`[\]\\]/)
  const decoded = markdown.replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
  expect(decoded).not.toMatch(/[@#]\w|\bgh-\d|:\/\/|www\.\w/i)
}

/** Outside of the one fence at the beginning nothing but our own markup is left. */
export function expectSafeMarkdown(markdown: string): void {
  const [, fence = "", rest = ""] = /^(`{3,})text\n[\s\S]*?\n\1\n([\s\S]*)$/.exec(markdown) ?? []
  expect(fence).not.toBe("")
  const screen = markdown.slice(0, markdown.length - rest.length)
  expect(screen.split("\n").filter(line => line.startsWith(fence))).toHaveLength(2)
  expectInert(rest)
  const tables = rest.split("\n").filter(line => line.startsWith("|"))
  for (const row of tables) expect([4, 6]).toContain(row.match(/\|/g)?.length)
  for (const line of rest.split("\n")) expect(line).toMatch(/^(\||- |### [a-z-]+$|Fix: |$)/)
}
