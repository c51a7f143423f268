// The same two settings as the worker's.

export const bootstrapBrokers = (process.env.ANNALS_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(',')
export const prefix = process.env.ANNALS_TOPIC_PREFIX ?? ''
