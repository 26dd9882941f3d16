export type ThresholdValue = number | string | boolean | readonly string[]

/** A number or list that a policy may set, but only more strictly than `default` allows at its loosest. */
export interface Threshold<T extends ThresholdValue> {
  readonly default: T
  readonly unit: string
  /** Why this default and this bound: ours, unless it names a source. */
  readonly reason: string
  /** The loosest value that a policy may set, in words. */
  readonly bound: string
  /** Why a policy may not set `value`; undefined where it may. */
  refuse(value: unknown): string | undefined
}

interface Stated {
  readonly unit: string
  readonly reason: string
}

/** A maximum: smaller is stricter. */
export function atMost(
  limit: number,
  { initial = limit, ...stated }: Stated & { initial?: number },
): Threshold<number> {
  return {
    default: initial,
    ...stated,
    bound: `at most ${limit}`,
    refuse: value => (isNumber(value) && value <= limit ? undefined : `must be a number of at most ${limit}`),
  }
}

/** A minimum: larger is stricter. */
export function atLeast(
  limit: number,
  { initial = limit, ...stated }: Stated & { initial?: number },
): Threshold<number> {
  return {
    default: initial,
    ...stated,
    bound: `at least ${limit}`,
    refuse: value => (isNumber(value) && value >= limit ? undefined : `must be a number of at least ${limit}`),
  }
}

/** A list of demands: a longer one is stricter, and none of the catalogue's may be dropped. */
export function including(demanded: readonly string[], stated: Stated): Threshold<readonly string[]> {
  const lacks = (value: readonly unknown[]) => demanded.find(item => !value.includes(item))
  return {
    default: demanded,
    ...stated,
    bound: `at least ${demanded.join(", ")}`,
    refuse: value => {
      if (!Array.isArray(value) || !value.every(item => typeof item === "string")) return "must be a list of strings"
      const lacking = lacks(value)
      return lacking === undefined ? undefined : `must include ${lacking}`
    },
  }
}

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value)
