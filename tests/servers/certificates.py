"""certificates - a certificate authority of a test's own, and what it signed; for the scripts that serve over TLS.

    ca.pem                      the authority
    server.pem, server.key      for localhost, 127.0.0.1 and ::1, unless others are asked for
    expired.pem                 the server's, but its time is over
    client.pem, client.key      for a client that has to show one
    other-ca.pem                an authority that signed none of them
"""
import os
import subprocess

from server import Failure, Skip

HERE = 'DNS:localhost,IP:127.0.0.1,IP:::1'
CONFIGURATION = '''
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = %s
extendedKeyUsage = serverAuth
[client]
extendedKeyUsage = clientAuth
'''


def run(*command):
    try:
        done = subprocess.run(['openssl', *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    except FileNotFoundError as error:
        raise Skip('openssl is not installed') from error
    if done.returncode != 0:
        raise Failure('openssl: ' + done.stdout)


def make(folder, names=HERE, client='dlock'):
    """Makes the files in a folder. `client` is the common name of the client, which some servers take for the user."""
    configuration = os.path.join(folder, 'certificates.conf')
    with open(configuration, 'w', encoding='utf-8') as file:
        file.write(CONFIGURATION % names)

    def signed_by(authority):
        signer = os.path.join(folder, authority)
        return ['-CA', signer + '.pem', '-CAkey', signer + '.key']
    for name, subject, kind, authority in (('ca', 'authority of a test', 'authority', None),
                                           ('other-ca', 'another authority', 'authority', None),
                                           ('server', 'server', 'server', 'ca'),
                                           ('client', client, 'client', 'ca')):
        path = os.path.join(folder, name)
        run('req', '-x509', '-config', configuration, '-extensions', kind, '-days', '2', '-nodes',
            '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-subj', '/CN=' + subject,
            '-keyout', path + '.key', '-out', path + '.pem', *(signed_by(authority) if authority else []))
    request, server = os.path.join(folder, 'server.csr'), os.path.join(folder, 'server')
    run('req', '-new', '-config', configuration, '-key', server + '.key', '-subj', '/CN=server', '-out', request)
    run('x509', '-req', '-in', request, '-extfile', configuration, '-extensions', 'server', '-days', '-1',
        '-out', os.path.join(folder, 'expired.pem'), *signed_by('ca'))
