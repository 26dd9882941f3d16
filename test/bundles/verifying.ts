// Runs verify-evidence in this process and keeps what it prints.
import { writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Report } from "@envidence/core"
import { main, type World } from "@envidence/verify"
import { newFolder } from "./state.ts"

export interface Run {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface VerifyRun extends Run {
  /** Null where the run ended without one. */
  readonly report: Report | null
  /** The report's error code, or the one on standard error. */
  readonly code: string | null
}

export interface RunOptions {
  readonly stdin?: () => AsyncIterable<Uint8Array>
  readonly now?: Date
  readonly env?: Readonly<Record<string, string>>
}

export async function runVerify(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  let stdout = ""
  let stderr = ""
  const world: World = {
    stdout: text => {
      stdout += text
    },
    stderr: text => {
      stderr += text
    },
    stdin: options.stdin ?? async function* () {},
    now: () => options.now ?? new Date(),
    env: options.env ?? {},
    temporaryDirectory: tmpdir(),
  }
  return { exitCode: await main(args, world), stdout, stderr }
}

/** Verifies a bundle from memory, by standard input, and reads the JSON report. */
export async function verify(
  bundle: Uint8Array,
  args: readonly string[],
  options: RunOptions = {},
): Promise<VerifyRun> {
  const stdin = async function* () {
    yield bundle
  }
  const run = await runVerify(["-", "--report", "json", ...args], { stdin, ...options })
  const report = run.stdout === "" ? null : (JSON.parse(run.stdout) as Report)
  const printed = /\[([a-z-]+)\]$/m.exec(run.stderr)?.[1] ?? null
  return { ...run, report, code: report === null ? printed : (report.error?.code ?? null) }
}

/** A new file with this content. */
export function writeTemporary(name: string, content: string | Uint8Array): string {
  const path = join(newFolder(), name)
  writeFileSync(path, content)
  return path
}
