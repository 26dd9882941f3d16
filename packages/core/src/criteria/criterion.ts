import type { Digest } from "../digest.js"
import type { ImageView } from "../image/view.js"
import type { Json } from "../json.js"
import type { Documents, ReportDocument } from "../schema/documents.generated.js"
import type { Declaration } from "../submission/declaration.js"
import { type Exceptions, noExceptions } from "./exception.js"
import type { Threshold, ThresholdValue } from "./threshold.js"

/**
 * What a verdict rests on. The verifier knows for each whether it was recomputed here or taken on the signer's word:
 * `image-config` and `submission-texts` are in every bundle and hash to its subjects; `image-layers` and `sbom` are
 * recomputed only by a verifier who has the layers; an `observation` never is.
 */
export type EvidenceSource = "image-config" | "image-layers" | "submission-texts" | "sbom" | "observation"

/** Everything that static criteria may look at: all of it is in the bundle. */
export interface StaticEvidence {
  readonly image: ImageView
  readonly declaration: Declaration
  readonly sbom: { readonly bytes: Uint8Array; readonly digest: Digest } | null
}

/** What a judge may know beside the facts: only what is bound by the signature, and who asks. */
export interface JudgeContext {
  readonly imageDigest: Digest
  readonly configDigest: Digest
  readonly sbomDigest: Digest | null
  readonly builtFromSubmission: boolean
  /** What `deriveSeeds` gives for the challenge: which seeds to play is not the signer's choice. */
  readonly seeds: readonly number[]
  /** `to-be-signed` while emitting and in every recomputed preview; `verified` once the verifier checked it. */
  readonly signature: "to-be-signed" | "verified"
}

export type Outcome = "pass" | "fail" | "unmeasured"

/** Where something was seen. `instruction` is the Dockerfile's, from the image's history; `line` is of `path`. */
export type Where = NonNullable<ReportDocument["findings"][number]["parts"][number]["where"]>

export interface JudgedPart {
  readonly id: string
  readonly outcome: Outcome
  readonly because: string
  readonly remedy: string
  readonly where: Where | null
}

/** The outcome of one criterion: for the person who must fix it, what was seen, what was asked, what to change. */
export interface Judgement {
  readonly outcome: Outcome
  readonly because: string
  readonly remedy: string
  readonly observed: { readonly [name: string]: Json }
  readonly parts: readonly JudgedPart[]
}

type Rest = Partial<Pick<Judgement, "observed" | "parts">>

const judgement = (outcome: Outcome, because: string, remedy: string, rest: Rest): Judgement => ({
  outcome,
  because,
  remedy,
  observed: rest.observed ?? {},
  parts: rest.parts ?? [],
})

export const pass = (because: string, rest: Rest = {}) => judgement("pass", because, "", rest)
export const fail = (because: string, remedy: string, rest: Rest = {}) => judgement("fail", because, remedy, rest)
export const unmeasured = (because: string, rest: Rest = {}) => judgement("unmeasured", because, "", rest)

export type ObservationName = Extract<keyof Documents, `${string}Observation`>
export type FactsOf<Name extends ObservationName> = Documents[Name]["facts"]
export type ThresholdValues = Readonly<Record<string, ThresholdValue>>

/** A row of the catalogue: what stands in every report, observed or not. */
export interface CatalogueRow {
  readonly id: string
  /** One or two words for the report's first screen. */
  readonly name: string
  readonly requirement: string
  /** Check ids of OpenEnv's own report that this answers. */
  readonly upstream: readonly string[]
}

/** A criterion that this version can judge, with its facts' type erased: `parseObservation` has checked their schema. */
export interface Criterion extends CatalogueRow {
  /** Raised when facts, or what they mean, change. */
  readonly revision: number
  readonly schema: ObservationName
  readonly restsOn: readonly EvidenceSource[]
  readonly thresholds: Readonly<Record<string, Threshold<ThresholdValue>>>
  /** Whether a policy may except files from it. */
  readonly takesExceptions: boolean
  judge(facts: unknown, thresholds: ThresholdValues, context: JudgeContext, exceptions?: Exceptions): Judgement
  /** For a static criterion: the facts, from the bundle's own bytes. */
  readonly inspect: ((evidence: StaticEvidence) => unknown) | null
}

interface Definition<Name extends ObservationName, T extends ThresholdValues> extends CatalogueRow {
  readonly revision: number
  readonly schema: Name
  readonly restsOn: readonly EvidenceSource[]
  readonly thresholds: { readonly [K in keyof T]: Threshold<T[K]> }
  readonly takesExceptions?: true
  judge(facts: FactsOf<Name>, thresholds: T, context: JudgeContext, exceptions: Exceptions): Judgement
}

/** A criterion whose facts anyone derives from the bundle. */
export function defineStaticCriterion<Name extends ObservationName, T extends ThresholdValues>(
  definition: Definition<Name, T> & { inspect(evidence: StaticEvidence): FactsOf<Name> },
): Criterion {
  return { ...erase(definition), inspect: definition.inspect }
}

/** A criterion whose facts were observed once, on the contributor's machine (`packages/emit/src/measure`). */
export function defineMeasuredCriterion<Name extends ObservationName, T extends ThresholdValues>(
  definition: Definition<Name, T>,
): Criterion {
  return { ...erase(definition), inspect: null }
}

function erase<Name extends ObservationName, T extends ThresholdValues>(definition: Definition<Name, T>): Criterion {
  return {
    ...definition,
    takesExceptions: definition.takesExceptions ?? false,
    judge: (facts, thresholds, context, exceptions = noExceptions) =>
      definition.judge(facts as FactsOf<Name>, thresholds as T, context, exceptions),
    inspect: null,
  }
}

/** A Dockerfile instruction for one line: engines write whole digests into COPY, and a RUN can be long. */
export function shortInstruction(instruction: string): string {
  const line = instruction.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…").replace(/\s+/g, " ")
  return line.length <= 120 ? line : `${line.slice(0, 119)}…`
}

/** For facts of which no run could have observed both halves: whoever wrote them did not see them. */
export const contradiction = (what: string, rest: Rest = {}) =>
  fail(
    `the observation contradicts itself: ${what}`,
    "run emit-evidence again, and leave what it writes as it is",
    rest,
  )

/** `1 byte`, `2 bytes`. */
export const countOf = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`
