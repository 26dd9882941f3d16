import { EvidenceError } from "@envidence/core"
import type { World } from "./world.js"

export const PROGRESS_MODES = ["auto", "tty", "plain", "json", "none"] as const
export type ProgressMode = (typeof PROGRESS_MODES)[number]

/** Shows what a long run does, on standard error. */
export interface Progress {
  /** Runs one step under a title. `estimate` is in seconds, for people only. */
  step<T>(title: string, estimate: number, work: () => Promise<T>): Promise<T>
}

type Ending = "done" | "failed" | "interrupted"
type Show = (title: string, estimate: number) => (state: Ending, seconds: number) => void

export function startProgress(mode: ProgressMode, { stderr, isTerminal, signal }: World): Progress {
  const effective = mode === "auto" ? (isTerminal ? "tty" : "plain") : mode
  const show = SHOW[effective](stderr)
  return {
    async step(title, estimate, work) {
      const started = performance.now()
      const finish = show(title, estimate)
      const seconds = () => (performance.now() - started) / 1000
      try {
        const result = await work()
        finish("done", seconds())
        return result
      } catch (error) {
        finish(signal.aborted || isInterruption(error) ? "interrupted" : "failed", seconds())
        throw error
      }
    },
  }
}

// Ctrl-C in a terminal ends the child too, whose end may be noticed first.
const isInterruption = (error: unknown) => error instanceof EvidenceError && error.code === "interrupted"

const about = (seconds: number): string => (seconds < 1 ? "" : ` (about ${seconds} s)`)
const took = (seconds: number): string => `${seconds.toFixed(1)} s`

const SHOW: Readonly<Record<Exclude<ProgressMode, "auto">, (stderr: (text: string) => void) => Show>> = {
  none: () => () => () => {},
  plain: stderr => (title, estimate) => {
    stderr(`${title}${about(estimate)}\n`)
    return (state, seconds) => stderr(`${title}: ${state} after ${took(seconds)}\n`)
  },
  json: stderr => (title, estimate) => {
    stderr(`${JSON.stringify({ step: title, state: "started", estimate })}\n`)
    return (state, seconds) =>
      stderr(`${JSON.stringify({ step: title, state, seconds: Number(seconds.toFixed(3)) })}\n`)
  },
  tty: redrawn,
}

const TICK_MS = 1000
const CLEAR_LINE = "\r\u001b[2K"
const WIDTH = 79

// Ours, because the known spinner counts lines by the terminal's width and never ends where that is 0. One line of less
// than 80 columns, drawn again each second, needs no width.
function redrawn(stderr: (text: string) => void): Show {
  return (title, estimate) => {
    const started = performance.now()
    const draw = () => {
      const seconds = Math.floor((performance.now() - started) / 1000)
      stderr(`${CLEAR_LINE}${`${title}${about(estimate)}  ${seconds} s`.slice(0, WIDTH)}`)
    }
    draw()
    const timer = setInterval(draw, TICK_MS).unref()
    return (state, seconds) => {
      clearInterval(timer)
      stderr(`${CLEAR_LINE}${title}: ${state} after ${took(seconds)}\n`)
    }
  }
}
