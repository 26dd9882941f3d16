import { EvidenceError } from "@envidence/core"
import { execa, type ResultPromise } from "execa"
import { cutLine, type Log, Redactor } from "./log.js"

export interface ProcessOptions {
  readonly cwd?: string
  /** The child's whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>
  /** Seconds until the child is killed. */
  readonly timeoutSeconds: number
  readonly signal?: AbortSignal | undefined
  /** Gets each line of both streams. */
  readonly log?: Log | undefined
  /** Bytes of standard output that are returned; a child that writes more is killed. Default 8 MiB. */
  readonly outputBytes?: number
}

export interface ProcessResult {
  /** 128 + n where signal n ended it, as shells count; 127 where it could not be started. */
  readonly exitCode: number
  readonly stdout: string
  /** The last lines of both streams, redacted, for messages. */
  readonly tail: readonly string[]
}

const TAIL_LINES = 20
const LINE_LENGTH = 8192

/**
 * Runs a program to its end, by argument array, with nothing on standard input.
 *
 * @throws EvidenceError interrupted when `signal` aborts, engine-failed when the time limit or the output limit is hit
 */
export async function runProcess(
  file: string,
  args: readonly string[],
  options: ProcessOptions,
): Promise<ProcessResult> {
  throwIfInterrupted(options.signal)
  const child = execa(file, args, executionOptions(options))
  const output = collectOutput(child, options)
  const result = await child
  throwIfInterrupted(options.signal)
  // Ctrl-C in a terminal reaches the child as well, and its end may be noticed first.
  if (result.signal === "SIGINT") throw new EvidenceError("interrupted", "interrupted")
  if (output.overflowed()) throw new EvidenceError("engine-failed", `${commandName(file, args)} wrote more than it may`)
  if (result.timedOut)
    throw new EvidenceError("engine-failed", `${commandName(file, args)} took more than ${options.timeoutSeconds} s`)
  return { exitCode: exitCodeOf(result), stdout: output.text(), tail: output.tail() }
}

/** @throws EvidenceError interrupted */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new EvidenceError("interrupted", "interrupted")
}

const executionOptions = ({ cwd, env, timeoutSeconds, signal }: ProcessOptions) =>
  ({
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    env,
    extendEnv: false,
    timeout: Math.ceil(timeoutSeconds * 1000),
    forceKillAfterDelay: 2000,
    // Execa's own clean-up re-raises a signal that the program has handled already, before the lab is removed.
    cleanup: false,
    stdin: "ignore",
    // Output is a stranger's: it is bounded below, where execa would hold all of it.
    buffer: false,
    reject: false,
  }) as const

const SIGNAL_BASE = 128
const SIGNALS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 }

const exitCodeOf = (result: { exitCode?: number; signal?: string }) =>
  result.exitCode ?? (result.signal === undefined ? 127 : SIGNAL_BASE + (SIGNALS[result.signal] ?? 0))

const commandName = (file: string, args: readonly string[]) => `${file} ${args[0] ?? ""}`.trim()

type Child = ResultPromise<ReturnType<typeof executionOptions>>

function collectOutput(child: Child, { log, outputBytes = 8_388_608 }: ProcessOptions) {
  const chunks: Buffer[] = []
  const tail: string[] = []
  const redactor = new Redactor()
  let size = 0
  const onLine = (line: string) => {
    log?.write(line)
    tail.push(redactor.redact(line))
    if (tail.length > TAIL_LINES) tail.shift()
  }
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length
    if (size <= outputBytes) chunks.push(chunk)
    else child.kill("SIGKILL")
  })
  const streams = [child.stdout, child.stderr].map(stream => splitLines(stream, onLine))
  return {
    overflowed: () => size > outputBytes,
    text: () => Buffer.concat(chunks).toString("utf8"),
    tail: () => {
      for (const flush of streams) flush()
      return tail
    },
  }
}

/**
 * Calls back with each line, of a long one with its beginning, so that none grows without end and no
 * credential is cut in two. Returns what flushes the last.
 */
export function splitLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): () => void {
  const decoder = new TextDecoder()
  let rest = ""
  const flush = () => {
    if (rest !== "") onLine(cutLine(rest, LINE_LENGTH))
    rest = ""
  }
  stream.on("data", (chunk: Buffer) => {
    const lines = decoder.decode(chunk, { stream: true }).split(/\r\n|\n|\r/)
    for (const [index, line] of lines.entries()) {
      if (index > 0) flush()
      // One more than is kept shows that there was more.
      rest += line.slice(0, LINE_LENGTH + 1 - rest.length)
    }
  })
  return flush
}
