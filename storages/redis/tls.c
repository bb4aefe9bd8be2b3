/* tls.c - TLS for streams, by OpenSSL. Only part of the module that serves rediss:.
 *
 * OpenSSL works on memory; the socket is ours, so that no write of it raises SIGPIPE. */
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tls {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* belong to ssl */
};

/* The last error of OpenSSL, as text. */
static const char *reason(char *text, size_t size)
{
    const unsigned long code = ERR_peek_last_error();
    const char *known = code ? ERR_reason_error_string(code) : NULL;
    snprintf(text, size, "%s", known ? known : "unknown error");
    ERR_clear_error();
    return text;
}

static bool load_files(SSL_CTX *context, const struct address *address, dlock_error *error)
{
    char text[128];
    if (address->ca && SSL_CTX_load_verify_file(context, address->ca) != 1)
        return dlock_error_set(error, DLOCK_REFUSED, "cannot load the certificates of %s: %s", address->ca,
                               reason(text, sizeof text)) == DLOCK_OK;
    if (!address->ca && !address->insecure)
        SSL_CTX_set_default_verify_paths(context);
    if (address->certificate && SSL_CTX_use_certificate_chain_file(context, address->certificate) != 1)
        return dlock_error_set(error, DLOCK_REFUSED, "cannot load the certificate %s: %s", address->certificate,
                               reason(text, sizeof text)) == DLOCK_OK;
    if (address->key && SSL_CTX_use_PrivateKey_file(context, address->key, SSL_FILETYPE_PEM) != 1)
        return dlock_error_set(error, DLOCK_REFUSED, "cannot load the key %s: %s", address->key,
                               reason(text, sizeof text)) == DLOCK_OK;
    if (address->key && SSL_CTX_check_private_key(context) != 1)
        return dlock_error_set(error, DLOCK_REFUSED, "the key %s does not belong to the certificate %s", address->key,
                               address->certificate) == DLOCK_OK;
    return true;
}

static bool is_number(const char *host)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1;
}

/* Whom the certificate has to be for. */
static bool expect_host(SSL *ssl, const char *host)
{
    if (is_number(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

static void close_tls(struct tls *tls)
{
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    free(tls);
}

static struct tls *open_tls(const struct address *address, dlock_error *error)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        goto no_memory;
    tls->context = SSL_CTX_new(TLS_client_method());
    if (!tls->context)
        goto no_memory;
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls->context, address->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!load_files(tls->context, address, error)) {
        close_tls(tls);
        return NULL;
    }
    tls->ssl = SSL_new(tls->context);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        goto no_memory;
    }
    BIO_set_mem_eof_return(tls->in, -1); /* empty means "not yet", not the end */
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    if (expect_host(tls->ssl, address->host))
        return tls;
no_memory:
    dlock_error_set(error, DLOCK_NOMEM, "TLS cannot be prepared");
    if (tls)
        close_tls(tls);
    return NULL;
}

static bool pending(const struct tls *tls)
{
    return BIO_ctrl_pending(tls->out) > 0;
}

/* Writes what OpenSSL has for the socket. False: see errno. */
static bool write_out(struct tls *tls, int socket)
{
    char *bytes;
    long size;
    while ((size = BIO_get_mem_data(tls->out, &bytes)) > 0) {
        const ssize_t sent = send(socket, bytes, (size_t)size, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        char taken[4096];
        for (ssize_t left = sent; left > 0;)
            left -= BIO_read(tls->out, taken, left < (ssize_t)sizeof taken ? (int)left : (int)sizeof taken);
    }
    return true;
}

/* Reads from the socket what OpenSSL is to have. 1, 0 at the end, -1 with errno. */
static ssize_t read_in(struct tls *tls, int socket)
{
    char bytes[16384];
    const ssize_t count = recv(socket, bytes, sizeof bytes, 0);
    if (count > 0)
        BIO_write(tls->in, bytes, (int)count);
    return count;
}

static ssize_t broken(char *why, size_t size)
{
    if (errno == EWOULDBLOCK || errno == EINTR)
        errno = EAGAIN;
    if (errno != EAGAIN) {
        char text[128];
        snprintf(why, size, "%s", strerror_r(errno, text, sizeof text));
    }
    return -1;
}

/* OpenSSL has given up: one side does not accept the other, or what comes is not TLS. */
static ssize_t refused(struct tls *tls, char *why, size_t size)
{
    const long verified = SSL_get_verify_result(tls->ssl);
    const bool unaccepted = verified != X509_V_OK && SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE,
               alerted = ERR_GET_REASON(ERR_peek_last_error()) >= SSL_AD_REASON_OFFSET;
    char text[128];
    if (unaccepted)
        snprintf(why, size, "its certificate is not accepted: %s", X509_verify_cert_error_string(verified));
    else
        snprintf(why, size, "TLS: %s", reason(text, sizeof text));
    ERR_clear_error();
    errno = unaccepted || alerted ? EACCES : EPROTO;
    return -1;
}

/* Carries bytes between OpenSSL and the socket after a call that returned `result`. 1 = call again, 0 = the end, -1
 * with errno. That nothing can be written any more says less than what the server sent before it hung up. */
static ssize_t go_on(struct tls *tls, int socket, int result, char *why, size_t size)
{
    const int wants = SSL_get_error(tls->ssl, result);
    const bool written = write_out(tls, socket) || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    const int failure = errno;
    if (wants == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE)
        return refused(tls, why, size);
    const ssize_t count = wants == SSL_ERROR_WANT_READ ? read_in(tls, socket) : -1;
    if (count > 0)
        return 1;
    if (!written)
        errno = failure;
    else if (wants == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    return written && count == 0 ? 0 : broken(why, size);
}

static int handshake(struct tls *tls, int socket, char *why, size_t size)
{
    for (;;) {
        ERR_clear_error();
        const int result = SSL_do_handshake(tls->ssl);
        if (result == 1)
            return write_out(tls, socket) || errno == EAGAIN ? 1 : (int)broken(why, size);
        const ssize_t more = go_on(tls, socket, result, why, size);
        if (more < 0)
            return -1;
        if (more == 0) {
            snprintf(why, size, "it closed the connection during the handshake of TLS");
            errno = ECONNRESET;
            return -1;
        }
    }
}

static ssize_t receive(struct tls *tls, int socket, void *bytes, size_t size, char *why, size_t why_size)
{
    for (;;) {
        ERR_clear_error();
        const int result = SSL_read(tls->ssl, bytes, size < 65536 ? (int)size : 65536);
        if (result > 0)
            return result;
        const ssize_t more = go_on(tls, socket, result, why, why_size);
        if (more <= 0)
            return more;
    }
}

static ssize_t send_bytes(struct tls *tls, int socket, const void *bytes, size_t size, char *why, size_t why_size)
{
    if (!write_out(tls, socket))
        return broken(why, why_size);
    if (size == 0)
        return 0;
    ERR_clear_error();
    const int result = SSL_write(tls->ssl, bytes, size < 65536 ? (int)size : 65536);
    if (result <= 0)
        return go_on(tls, socket, result, why, why_size) < 0 ? -1 : (errno = EAGAIN, -1);
    if (!write_out(tls, socket) && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        return broken(why, why_size);
    return result;
}

static const struct tls_functions functions = {
    .open = open_tls,
    .close = close_tls,
    .handshake = handshake,
    .receive = receive,
    .send = send_bytes,
    .pending = pending,
};

const struct tls_functions *const stream_tls = &functions;
