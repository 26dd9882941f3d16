import { setTimeout as pause } from "node:timers/promises"
import { parseImageConfig } from "@envidence/core"
import type { RunningContainer } from "./engine.js"
import { type EnvironmentAddress, EnvironmentSession, type ResetRequest } from "./environment-client.js"
import type { Lab } from "./lab.js"
import { EnvironmentProblem } from "./problem.js"
import { throwIfInterrupted } from "./process.js"

/** An environment that has answered a reset. */
export interface RunningEnvironment {
  readonly address: EnvironmentAddress
  /** A session whose first reset is answered; waits a little for the place that an earlier session has left. */
  openSession(reset: ResetRequest): Promise<OpenedSession>
  /** Where the container has ended, that and its last words stand behind the problem. */
  explain(problem: EnvironmentProblem): Promise<EnvironmentProblem>
  stop(): Promise<void>
}

export interface OpenedSession {
  readonly session: EnvironmentSession
  readonly first: Awaited<ReturnType<EnvironmentSession["reset"]>>
}

/**
 * Starts the lab's image and waits until it answers a reset over its WebSocket: /health says healthy while every
 * construction fails.
 *
 * @throws EnvironmentProblem where the environment does not get there; EvidenceError where the engine fails
 */
export async function startEnvironment(lab: Lab, reset: ResetRequest): Promise<RunningEnvironment> {
  const { port, env, memoryMegabytes, processes, readySeconds } = lab.environment
  const user = userFor(lab.image.config)
  const request = { port, env, memoryMegabytes, processes, user, log: lab.log, signal: lab.signal }
  const container = await lab.engine.run(lab.image.reference, request)
  const address = { socketPath: container.socketPath, port, signal: lab.signal }
  try {
    await untilReady(container, address, reset, readySeconds, lab.signal)
  } catch (error) {
    await container.stop()
    throw error
  }
  return {
    address,
    openSession: request => openSession(container, address, request, lab.signal),
    explain: problem => explain(container, problem),
    stop: () => container.stop(),
  }
}

const UNPRIVILEGED = "65532:65532"

/** Null keeps the image's own user; an image that would run as root runs as nobody in particular. */
function userFor(config: Uint8Array): string | null {
  const { user } = parseImageConfig(config).config
  return /^(0+|root)?(:|$)/.test(user) ? UNPRIVILEGED : null
}

const RETRY_MILLISECONDS = 100

async function untilReady(
  container: RunningContainer,
  address: EnvironmentAddress,
  reset: ResetRequest,
  seconds: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + seconds * 1000
  let last = "nothing listens on its port"
  while (performance.now() < deadline) {
    throwIfInterrupted(signal)
    if (!container.isRunning()) throw await exited(container)
    const outcome = await attempt(address, reset)
    if (outcome === "ready") return
    if (!isPassing(outcome)) throw await explain(container, outcome)
    last = outcome.message
    await pause(RETRY_MILLISECONDS)
  }
  const said = lastWords(await container.lastLines())
  const where = `on port ${address.port} within ${seconds} s`
  throw new EnvironmentProblem("not-ready", `no reset was answered ${where}: ${last}; ${said}`)
}

// While a server starts, its port refuses connections and its proxies answer 5xx. All else it says is meant.
const isPassing = (problem: EnvironmentProblem) =>
  problem.code === "connection-closed" || problem.code === "capacity-reached"

async function attempt(address: EnvironmentAddress, reset: ResetRequest): Promise<"ready" | EnvironmentProblem> {
  try {
    const { session } = await open(address, reset)
    await session.close()
    return "ready"
  } catch (error) {
    if (error instanceof EnvironmentProblem) return error
    throw error
  }
}

async function open(address: EnvironmentAddress, reset: ResetRequest): Promise<OpenedSession> {
  const session = await EnvironmentSession.open(address)
  try {
    return { session, first: await session.reset(reset) }
  } catch (error) {
    await session.close()
    throw error
  }
}

// A connection breaks a moment before its process is gone.
const ENDING_MILLISECONDS = 200

async function explain(container: RunningContainer, problem: EnvironmentProblem): Promise<EnvironmentProblem> {
  if (problem.code !== "connection-closed") return problem
  await pause(ENDING_MILLISECONDS)
  return container.isRunning() ? problem : exited(container)
}

const lastWords = (lines: readonly string[]): string =>
  lines.length === 0 ? "it wrote nothing" : `its last lines: ${lines.slice(-5).join(" | ")}`

async function exited(container: RunningContainer): Promise<EnvironmentProblem> {
  const lines = await container.lastLines()
  const said = lastWords(lines)
  return new EnvironmentProblem("container-exited", `the container ended; ${said}`)
}

// A slot is free 0.3 s after its session was closed.
const CAPACITY_SECONDS = 5

async function openSession(
  container: RunningContainer,
  address: EnvironmentAddress,
  reset: ResetRequest,
  signal: AbortSignal,
): Promise<OpenedSession> {
  const deadline = performance.now() + CAPACITY_SECONDS * 1000
  for (;;) {
    throwIfInterrupted(signal)
    try {
      return await open(address, reset)
    } catch (error) {
      if (!container.isRunning()) throw await exited(container)
      const full = error instanceof EnvironmentProblem && error.code === "capacity-reached"
      if (!full || performance.now() > deadline) throw error
    }
    await pause(RETRY_MILLISECONDS)
  }
}
