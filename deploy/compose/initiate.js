// Makes one replica set of the three members, an administrator and the user of measurand; what is there stays as it is.
// For mongosh, without a connection, next to the first member: MongoDB lets nobody but a caller on its own loopback
// address do anything before there is a user.
const { ADMIN_PASSWORD, USER_PASSWORD, MEMBERS = 'mongo-1:27017,mongo-2:27017,mongo-3:27017', PORT = '27017' } =
  process.env;
const SECONDS = 120;

const admin = connect(`mongodb://127.0.0.1:${PORT}/admin?directConnection=true`);

function logIn() {
  try {
    return admin.auth('admin', ADMIN_PASSWORD).ok === 1;
  } catch (error) {
    if (error.codeName === 'AuthenticationFailed') return false; // there is no administrator yet
    throw error;
  }
}

function initiate() {
  const members = MEMBERS.split(',').map((host, _id) => ({ _id, host, priority: _id === 0 ? 2 : 1 }));
  try {
    admin.runCommand({ replSetInitiate: { _id: 'rs0', members } });
  } catch (error) {
    if (error.codeName !== 'AlreadyInitialized') throw error;
  }
}

function waitUntilPrimary() {
  for (let second = 0; second < SECONDS; second++) {
    if (admin.hello().isWritablePrimary) return;
    sleep(1000);
  }
  throw new Error(`this member did not become the primary within ${SECONDS} s; see the logs of the others`);
}

if (!logIn()) {
  initiate();
  waitUntilPrimary();
  admin.createUser({ user: 'admin', pwd: ADMIN_PASSWORD, roles: ['root'] });
  logIn();
}
waitUntilPrimary();
if (admin.getUser('measurand') === null) {
  admin.createUser({ user: 'measurand', pwd: USER_PASSWORD, roles: [{ role: 'readWrite', db: 'measurand' }] });
}
print('the replica set rs0 is ready');
