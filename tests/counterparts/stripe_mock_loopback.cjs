// Run stripe-stateful-mock on one loopback port; its own command listens on every interface.
// Usage: NODE_PATH=<the node_modules that has it> node stripe_mock_loopback.cjs PORT
require("stripe-stateful-mock").createExpressApp().listen(Number(process.argv[2]), "127.0.0.1");
