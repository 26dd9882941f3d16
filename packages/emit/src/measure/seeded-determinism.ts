import { createHash } from "node:crypto"
import {
  firstTraceDifference,
  type Json,
  type SeededDeterminismObservation,
  traceDigests,
  volatileDifferences,
  WHOLE_EPISODE_STEPS,
  writeTranscript,
} from "@envidence/core"
import { type ActionSource, actionsFromSchema } from "../lab/actions.js"
import { type RunningEnvironment, startEnvironment } from "../lab/environment.js"
import { type EnvironmentSession, type Exchange, fetchSchema } from "../lab/environment-client.js"
import type { Lab } from "../lab/lab.js"
import { EnvironmentProblem } from "../lab/problem.js"
import { throwIfInterrupted } from "../lab/process.js"
import { type Artifact, defineMeasuredCriterion } from "./criterion.js"

type Facts = SeededDeterminismObservation["facts"]

/** Plays the same seed and actions again: in a second reset, in a second session, and in a fresh container. */
export const seededDeterminism = defineMeasuredCriterion<"seeded-determinism", Facts>({
  id: "seeded-determinism",
  estimateSeconds: 10,
  async measure(lab) {
    const recording: Recording = { episodes: [], problems: [], budget: new Budget() }
    try {
      await playEverything(lab, recording)
    } catch (error) {
      throwIfInterrupted(lab.signal)
      if (!(error instanceof EnvironmentProblem)) throw error
      recording.problems.push(error.problem)
    }
    return describeRecording(lab, recording)
  },
})

/** One answered reset and what followed, until done or the step limit. */
interface Episode {
  readonly seed: number
  readonly container: number
  readonly session: number
  readonly reset: number
  readonly done: boolean
  readonly steps: number
  readonly exchanges: readonly Exchange[]
}

interface Recording {
  readonly episodes: Episode[]
  readonly problems: Facts["problems"]
  readonly budget: Budget
}

const RUN_LIMIT = 1024
const TRANSCRIPT_BYTES = 1_048_576
const BUDGET_SECONDS = 1800
const BUDGET_CHARACTERS = 67_108_864

/** What all episodes together may cost: each answer is bounded, and there may be thousands. */
class Budget {
  readonly #deadline = performance.now() + BUDGET_SECONDS * 1000
  #characters = 0

  /** @throws EnvironmentProblem */
  spend({ receive }: Exchange): void {
    this.#characters += JSON.stringify(receive).length
    if (this.#characters > BUDGET_CHARACTERS)
      throw new EnvironmentProblem("message-too-large", `the episodes are larger than ${BUDGET_CHARACTERS} characters`)
    if (performance.now() > this.#deadline)
      throw new EnvironmentProblem("timeout", `the episodes take more than ${BUDGET_SECONDS} s`)
  }
}

/** A container's part: `sessions` has a number for each session of a seed, how many resets it plays. */
interface Visit {
  readonly container: number
  readonly seeds: readonly number[]
  readonly sessions: readonly number[]
}

async function playEverything(lab: Lab, recording: Recording): Promise<void> {
  const { seeds } = lab
  const actions = await inContainer(lab, recording, { container: 0, seeds, sessions: [2, 1] })
  // In reverse: what one episode leaves behind for the next is then not the same in both containers.
  await inContainer(lab, recording, { container: 1, seeds: seeds.toReversed(), sessions: [1] }, actions)
}

/** Returns the actions that were played, for the next container to play the same. */
async function inContainer(
  lab: Lab,
  recording: Recording,
  visit: Visit,
  earlier?: ActionSource,
): Promise<ActionSource> {
  const episodeId = episodeName(lab.seeds)
  const { container, seeds, sessions } = visit
  const environment = await startEnvironment(lab, { seed: seeds[0] ?? 0, episodeId })
  try {
    const actions = earlier ?? actionsFromSchema(await fetchSchema(environment.address))
    let session = 0
    for (const seed of seeds)
      for (const resets of sessions)
        await inSession(
          { lab, recording, environment, actions, seed, episodeId, container, session: session++ },
          resets,
        )
    return actions
  } catch (error) {
    throw error instanceof EnvironmentProblem ? await environment.explain(error) : error
  } finally {
    await environment.stop()
  }
}

// One name for all episodes, so that an observation that shows it does not seem to depend on the seed; in the shape of
// a stock client's.
function episodeName(seeds: readonly number[]): string {
  const hex = createHash("sha256").update(`episode ${seeds.join()}`).digest("hex")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

interface Place {
  readonly lab: Lab
  readonly recording: Recording
  readonly environment: RunningEnvironment
  readonly actions: ActionSource
  readonly seed: number
  readonly episodeId: string
  readonly container: number
  readonly session: number
}

async function inSession(place: Place, resets: number): Promise<void> {
  const { environment, seed, episodeId } = place
  const { session, first } = await environment.openSession({ seed, episodeId })
  try {
    await playEpisode(place, session, 0, first)
    for (let reset = 1; reset < resets; reset++)
      await playEpisode(place, session, reset, await session.reset({ seed, episodeId }))
  } finally {
    await session.close()
  }
}

type ResetAnswer = Awaited<ReturnType<EnvironmentSession["reset"]>>

async function playEpisode(
  place: Place,
  session: EnvironmentSession,
  reset: number,
  first: ResetAnswer,
): Promise<void> {
  const { lab, recording, actions, seed, container, session: number } = place
  const exchanges: Exchange[] = [first]
  let [steps, done] = [0, first.receive.data.done]
  while (!done && steps < WHOLE_EPISODE_STEPS) {
    throwIfInterrupted(lab.signal)
    const exchange = await session.step(actions(actionNumber(seed, steps)))
    exchanges.push(exchange)
    recording.budget.spend(exchange)
    steps++
    done = exchange.receive.data.done
  }
  exchanges.push(await session.state())
  // An episode that breaks off is a problem, not a run: it would differ from every whole one.
  recording.episodes.push({ seed, container, session: number, reset, done, steps, exchanges })
}

/** Spreads seeds and steps over the generator's 31 bits; the multiplier is odd, so seeds do not share their actions. */
const actionNumber = (seed: number, step: number) => (Math.imul(seed + 1, 0x9e37_79b1) + step) & 0x7fff_ffff

async function describeRecording(lab: Lab, { episodes, problems }: Recording) {
  const kept = episodes.slice(0, RUN_LIMIT)
  const transcript = transcriptOf(kept)
  const facts: Facts = {
    protocol: "openenv-ws",
    actionSource: "schema",
    declaredNondeterministic: lab.environment.declaredNondeterministic,
    runs: await Promise.all(kept.map(describeEpisode)),
    differences: compare(kept).slice(0, 64),
    volatile: volatilePointers(kept).slice(0, 256),
    problems: problems.slice(0, 16),
    transcript: transcript === null ? null : { path: TRANSCRIPT_PATH, sha256: sha256(transcript.bytes) },
  }
  return { facts, artifacts: transcript === null ? [] : [transcript] }
}

const messagesOf = ({ exchanges }: Episode): readonly Json[] => exchanges.map(({ receive }) => receive)

async function describeEpisode(episode: Episode): Promise<Facts["runs"][number]> {
  const { seed, container, session, reset, steps, done } = episode
  return { seed, container, session, reset, steps, done, ...(await traceDigests(messagesOf(episode))) }
}

/** Each run with the first run of its seed. */
function* pairs(episodes: readonly Episode[]) {
  const firsts = new Map<number, number>()
  for (const [index, episode] of episodes.entries()) {
    const firstIndex = firsts.get(episode.seed)
    const first = firstIndex === undefined ? undefined : episodes[firstIndex]
    if (firstIndex === undefined || first === undefined) firsts.set(episode.seed, index)
    else yield { seed: episode.seed, runs: [firstIndex, index], first, second: episode }
  }
}

function compare(episodes: readonly Episode[]): Facts["differences"] {
  return [...pairs(episodes)].flatMap(({ seed, runs, first, second }) => {
    const difference = firstTraceDifference(messagesOf(first), messagesOf(second))
    return difference === undefined ? [] : [{ seed, runs, ...difference }]
  })
}

function volatilePointers(episodes: readonly Episode[]): string[] {
  const found = new Set<string>()
  for (const { first, second } of pairs(episodes))
    for (const [index, { receive }] of first.exchanges.entries()) {
      const other = second.exchanges[index]?.receive
      if (other !== undefined) for (const pointer of volatileDifferences(receive, other)) found.add(pointer)
    }
  return [...found].sort()
}

const TRANSCRIPT_NAME = "transcript.jsonl"
const TRANSCRIPT_PATH = `artifacts/seeded-determinism/${TRANSCRIPT_NAME}`

function transcriptOf(episodes: readonly Episode[]): Artifact | null {
  const runs = episodes.map(({ exchanges }, run) => exchanges.map((exchange, frame) => ({ run, frame, ...exchange })))
  const bytes = writeTranscript(runs, TRANSCRIPT_BYTES)
  return bytes.length === 0 ? null : { name: TRANSCRIPT_NAME, mediaType: "application/jsonl", bytes }
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")
