import { EvidenceError } from "./errors.js"
import { escapeTerminal } from "./report/escape.js"

export interface Failure {
  readonly exitCode: number
  /** Lines for standard error. */
  readonly text: string
}

/** What a tool prints when it gives up: what happened, where, and what to do; the trace only where asked for. */
export function describeFailure(tool: string, error: unknown, verbose: boolean): Failure {
  const known =
    error instanceof EvidenceError
      ? error
      : new EvidenceError("internal", `unexpected failure: ${String(error)}`, {
          cause: error,
          hint: "Run again with --verbose to see where.",
        })
  const lines = [`${tool}: ${escapeTerminal(known.message)} [${known.code}]`]
  if (known.hint !== undefined) lines.push(escapeTerminal(known.hint))
  if (verbose) lines.push(...traceOf(known).split("\n").map(escapeTerminal))
  return { exitCode: known.exitCode, text: `${lines.join("\n")}\n` }
}

function traceOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${traceOf(error.cause)}` : ""
  return `${error.stack ?? error.message}${cause}`
}
