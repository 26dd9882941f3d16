import parseSpdxExpression from "spdx-expression-parse"
import { isVisible } from "../report/escape.js"

/** Why a label's value has not the form that it should have, in words that complete "it is"; undefined where it has. */
export type LabelFormat = (value: string) => string | undefined

const PREFIX = "org.opencontainers.image."
// Longer than any expression of use: the parser descends once for each parenthesis.
const EXPRESSION_CHARACTERS = 2048

const dateTime: LabelFormat = value => (isDateTime(value) ? undefined : "no date and time by RFC 3339")
const url: LabelFormat = value => (isWebUrl(value) ? undefined : "no absolute http or https URL")
const digest: LabelFormat = value =>
  /^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$/.test(value) ? undefined : "no digest"
const spdx: LabelFormat = value => (isSpdxExpression(value) ? undefined : "no SPDX licence expression")

/** The formats that image-spec 1.1 gives its pre-defined annotation keys (annotations.md); the others are free text. */
const formats: ReadonlyMap<string, LabelFormat> = new Map([
  [`${PREFIX}created`, dateTime],
  [`${PREFIX}licenses`, spdx],
  [`${PREFIX}url`, url],
  [`${PREFIX}source`, url],
  [`${PREFIX}documentation`, url],
  [`${PREFIX}base.digest`, digest],
])

/** Labels that have a format of their own and not that form, by name. */
export function malformedLabels(labels: Readonly<Record<string, string>>): { label: string; why: string }[] {
  return Object.entries(labels).flatMap(([label, value]) => {
    const why = isBlank(value) ? undefined : formats.get(label)?.(value)
    return why === undefined ? [] : [{ label, why }]
  })
}

/** Whether a person sees nothing: spaces, controls, zero-width characters, fillers that look like spaces. */
export const isBlank = (value: string): boolean => !isVisible(value)

const DATE_TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

function isDateTime(value: string): boolean {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = (DATE_TIME.exec(value) ?? ["", "0"])
    .slice(1)
    .map(Number)
  // RFC 3339 allows the leap second.
  return day >= 1 && day <= daysOf(year, month) && hour <= 23 && minute <= 59 && second <= 60
}

function daysOf(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  if ([4, 6, 9, 11].includes(month)) return 30
  return month >= 1 && month <= 12 ? 31 : 0
}

const isWebUrl = (value: string): boolean =>
  /^https?:\/\/(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(?::\d{1,5})?(?:[/?#][\x21-\x7e]*)?$/.test(value) ||
  /^https?:\/\/\[[0-9A-Fa-f:.]+\](?::\d{1,5})?(?:[/?#][\x21-\x7e]*)?$/.test(value)

function isSpdxExpression(value: string): boolean {
  if (value.length > EXPRESSION_CHARACTERS) return false
  try {
    parseSpdxExpression(value)
    return true
  } catch {
    return false
  }
}
