export { main } from "./main.js"
export { verifyBundle } from "./verify.js"
export type { World } from "./world.js"
