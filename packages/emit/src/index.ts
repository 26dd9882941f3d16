export * from "./lab/index.js"
export * from "./measure/index.js"
export * from "./snapshot.js"
