export { type EmitArguments, parseArguments } from "./arguments.js"
export { type EmitResult, emitEvidence } from "./emit.js"
export { main } from "./main.js"
export type { World } from "./world.js"
