import { isJsonObject, type Json } from "@envidence/core"
import { generateSync, type JsonSchema } from "json-schema-faker"
import { EnvironmentProblem } from "./problem.js"

export type Action = { readonly [key: string]: Json }

/** Actions by number: the same number gives the same action, in every run and on every machine. */
export type ActionSource = (number: number) => Action

const ACTION_BYTES = 65_536

/**
 * Actions from the `action` part of `/schema`. The free-form `metadata` of the base class is no decision of an agent
 * and is left out.
 *
 * @throws EnvironmentProblem unsupported-action-space
 */
export function actionsFromSchema(schema: { readonly [key: string]: Json }): ActionSource {
  const action = schema.action
  if (!isJsonObject(action) || !isJsonObject(action.properties))
    throw unsupported("/schema describes no action object with properties")
  requireModest(action)
  const space = withoutMetadata(action)
  const source: ActionSource = number => generateAction(space, number)
  source(0)
  return source
}

const MINIMA = new Set(["minItems", "minLength", "minProperties", "minContains"])
const MINIMUM_LIMIT = 4096

// The schema is a stranger's, and generating is synchronous: one number in it could fill the memory.
function requireModest(schema: Json): void {
  if (!isJsonObject(schema) && !Array.isArray(schema)) return
  for (const [name, value] of Object.entries(schema)) {
    const repeats = name === "pattern" && typeof value === "string" ? [...value.matchAll(/\{(\d+)/g)] : []
    const counts = repeats.map(match => Number(match[1]))
    if (MINIMA.has(name) && typeof value === "number") counts.push(value)
    if (counts.some(count => count > MINIMUM_LIMIT)) throw unsupported(`${name} asks for more than ${MINIMUM_LIMIT}`)
    requireModest(value)
  }
}

function withoutMetadata(action: Action): JsonSchema {
  const { metadata: _, ...properties } = isJsonObject(action.properties) ? action.properties : {}
  const required = Array.isArray(action.required) ? action.required.filter(name => name !== "metadata") : []
  return { ...action, properties, required } as JsonSchema
}

function generateAction(space: JsonSchema, number: number): Action {
  const action = generate(space, number)
  if (!isJsonObject(action)) throw unsupported("the action schema describes something other than an object")
  if (JSON.stringify(action).length > ACTION_BYTES) throw unsupported(`an action takes more than ${ACTION_BYTES} bytes`)
  return action
}

const OPTIONS = { alwaysFakeOptionals: false, optionalsProbability: 0.5, maxDefaultItems: 4, maxDepth: 8 } as const

function generate(space: JsonSchema, number: number): unknown {
  try {
    return generateSync(space, { ...OPTIONS, seed: number })
  } catch (error) {
    throw unsupported(
      `no action can be made from the schema: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

const unsupported = (because: string) => new EnvironmentProblem("unsupported-action-space", because)
